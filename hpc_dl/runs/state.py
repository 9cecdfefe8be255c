"""What a run is doing, as its own job tells it: ``state.json``, readable with ``cat``.

One writer at a time: the job. What the launcher knows is in ``job.json``, and whether the job is
still alive only Slurm or the operating system can tell (``hpc_dl.cluster.status`` puts the three
together).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Any, Literal

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import RunFolder

State = Literal["created", "pending", "running", "stopped", "finished", "failed", "cancelled", "lost"]
#: States in which no process of the run is at work any more. A ``stopped`` run has a checkpoint and
#: goes on when it is started again, by Slurm or by ``hpc-dl resume``.
ENDED: frozenset[State] = frozenset({"stopped", "finished", "failed", "cancelled", "lost"})


def write_state(folder: RunFolder, state: State, /, **details: Any) -> None:
    """Replace the state.

    Args:
        folder: the run.
        state: the new state.
        details: further facts, such as ``reason`` and ``rank`` of a failure, ``attempt``, ``step``.
    """
    now = {
        "state": state,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    write_json(folder.state, now | details | now)  # what is new comes first, and wins


def end_state(folder: RunFolder, state: State, /, **details: Any) -> None:
    """Write how the run ended, and keep what its earlier state said of the attempt and its Slurm
    job.
    """
    write_state(folder, state, **(read_state(folder) | details))


def record_failure(folder: RunFolder, error: BaseException, rank: int) -> None:
    """Write ``failed`` with its reason, unless the run has ended: the first failure is the cause,
    the others follow.

    Never raises OSError: a full disk may be the very failure.
    """
    with contextlib.suppress(OSError):
        if read_state(folder)["state"] not in ENDED:
            reason = str(error) if isinstance(error, HpcDlError) else f"{type(error).__name__}: {error}"
            end_state(folder, "failed", reason=" ".join(reason.split()), rank=rank, log=str(folder.log(rank)))


def read_state(folder: RunFolder) -> dict[str, Any]:
    """The last written state; ``created`` for a run whose job has not begun."""
    try:
        return read_json(folder.state) or {"state": "created"}
    except ValueError:
        return {"state": "lost", "reason": f"{folder.state} is damaged"}
