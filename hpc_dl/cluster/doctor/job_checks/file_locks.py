"""File locks in the folder of runs, and how soon a node sees what another one writes there."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_WAIT_S = 20.0
_POLL_S = 0.05


class FileLocks(JobCheck):
    """The first node locks a file as a training does; the others must not get the lock."""

    why = "Without locks between nodes nothing prevents two trainings in one run folder"
    remedy = "ask your site whether this file system can lock files (Lustre: mount option `flock`)"
    once_per_node = True

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return whether this node has ``seen`` the file of the first, and is ``locked_out``."""
        nodes = rank.experiment.resources.nodes
        if nodes == 1:
            return {}
        folder = rank.run.path
        descriptor = os.open(folder / "lock-of-doctor", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if rank.rank == 0:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (folder / "locked").touch()
                tried = _wait_until(lambda: len(_files(folder, "tried-")) >= nodes - 1)
                return {"first": True, "tried": tried}
            started = time.monotonic()
            if not _wait_until(lambda: bool(_files(folder, "locked"))):
                return {"seen": False}
            seen_s = time.monotonic() - started
            locked_out = False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked_out = True
            (folder / f"tried-{rank.rank}").touch()
            return {"seen": True, "seen_s": seen_s, "locked_out": locked_out}
        finally:
            os.close(descriptor)

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one if files are not seen, or locks do not hold."""
        others = [each for each in measured if not each.values.get("first")]
        if blind := [each.node for each in others if not each.values["seen"]]:
            what = f"{', '.join(blind)}: a file that the first node wrote was not seen within {_WAIT_S:.0f} s"
            why = "Ranks exchange messages and checkpoints through the folder of runs"
            yield Finding(what, why, "set `runs_dir` in the site profile to a file system that all nodes share")
        if free := [each.node for each in others if each.values["seen"] and not each.values["locked_out"]]:
            what = f"{', '.join(free)}: got a lock in the folder of runs that the first node holds"
            yield Finding(what, self.why, f"{self.remedy}; never resume a run whose job may be alive", fatal=False)


def _files(folder: Path, prefix: str) -> list[str]:
    """The names of files; listing the folder makes NFS look at the server."""
    return [name for name in os.listdir(folder) if name.startswith(prefix)]


def _wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
