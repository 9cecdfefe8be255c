"""What a run is doing, as its own job tells it: ``state.json``, readable with ``cat``.

One writer at a time: the job. What the launcher knows is in ``job.json``, and whether the job is still alive only Slurm
or the operating system can tell (``hpc_dl.cluster.status`` puts the three together).
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Literal

from hpc_dl.runs.files import read_json, write_json
from hpc_dl.runs.folder import RunFolder

State = Literal["created", "pending", "running", "finished", "failed", "cancelled", "lost"]
ENDED: frozenset[State] = frozenset({"finished", "failed", "cancelled", "lost"})


def write_state(folder: RunFolder, state: State, **details: Any) -> None:
    """Replace the state.

    Args:
        folder: the run.
        state: the new state.
        details: further facts, such as ``reason`` and ``rank`` of a failure, ``attempt``, ``step``.
    """
    write_json(
        folder.state,
        {
            "state": state,
            **details,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        },
    )


def read_state(folder: RunFolder) -> dict[str, Any]:
    """The last written state; ``created`` for a run whose job has not begun."""
    return read_json(folder.state) or {"state": "created"}
