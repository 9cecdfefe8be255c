"""What a run is doing, as reported by its own job in ``state.json``.

Only the job writes this file. The launcher's facts are in ``job.json``, and only Slurm or the
operating system knows whether the job is still alive: ``hpc_dl.cluster.status`` combines the three.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from typing import Any

from hpc_dl.atomic_files import json_text, write_json
from hpc_dl.errors import HpcDlError, describe
from hpc_dl.regular_files import DamagedFile
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import State as State  # for all that write a state
from hpc_dl.runs.run_files import read_state_file

#: States in which no process of the run is active anymore. A ``stopped`` run has a checkpoint and
#: continues when Slurm or ``hpc-dl resume`` starts it again. Its sweep ended a ``pruned`` one.
ENDED: frozenset[State] = frozenset({"stopped", "finished", "pruned", "failed", "diverged", "cancelled", "lost"})

#: States of a run that others need not wait for any longer: its sweep ended a pruned one early.
DONE: frozenset[State] = frozenset({"finished", "pruned"})


def write_state(folder: RunFolder, state: State, /, **details: Any) -> None:
    """Replace the state.

    Args:
        folder: the run.
        state: the new state.
        details: further facts, such as ``reason`` and ``rank`` of a failure, ``attempt``, ``step``.
    """
    base = {
        "state": state,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    # Base twice: its keys come first in the file, and details of an older state never replace it.
    content = base | details | base
    try:
        write_json(folder.state, content)
    except OSError as error:
        # A full disk has no space for a second file, but the old one can be overwritten.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not folder.state.is_file():
            raise
        with open(folder.state, "r+b", buffering=0) as file:
            file.truncate(file.write(json_text(content).encode()))


def end_state(folder: RunFolder, state: State, /, **details: Any) -> None:
    """Write how the run ended; the attempt and Slurm facts of the previous state are kept."""
    write_state(folder, state, **(read_state(folder) | details))


def record_failure(folder: RunFolder, error: BaseException, rank: int) -> None:
    """Write ``failed`` with the reason, unless the run has already ended.

    The first failure is the cause; the other ranks fail because of it. Raises no OSError, because
    a full disk may be the cause of the failure.
    """
    with contextlib.suppress(OSError):
        if read_state(folder)["state"] not in ENDED:
            reason = str(error) if isinstance(error, HpcDlError) else describe(error)
            end_state(folder, "failed", reason=" ".join(reason.split()), rank=rank, log=str(folder.log(rank)))


def read_state(folder: RunFolder) -> dict[str, Any]:
    """Return the last written state; ``created`` for a run whose job has not started."""
    try:
        return read_state_file(folder) or {"state": "created"}
    except DamagedFile as error:
        return {"state": "lost", "reason": str(error)}
