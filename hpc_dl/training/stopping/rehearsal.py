"""The training's part in a rehearsal (``hpc-dl rehearse``): it waits once for a real signal.

It waits between two batches.
``RUN/rehearsal.json`` holds ``hold_at_step``; when the training waits there, it adds ``holding``
with the step. The signal is then handled like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.rank_group import RankGroup

#: Seconds after which the training continues without a signal; less than the shortest
#: ``stall_timeout`` of a rehearsal.
PATIENCE_S = 300.0
_POLL_INTERVAL_S = 0.1


def file(run: RunFolder) -> Path:
    """The file through which the rehearsal and the training communicate."""
    return run.path / "rehearsal.json"


def hold_at(run: RunFolder, from_step: int) -> int | None:
    """Return the step at which to wait; ``None`` if there is none, or it is already done."""
    step = (read_json(file(run)) or {}).get("hold_at_step")
    return None if step is None or from_step >= step else int(step)


def hold(run: RunFolder, group: RankGroup, step: int, say: Callable[[str], None]) -> None:
    """Wait until any rank has a signal; all ranks return together."""
    if group.rank == 0:
        write_json(file(run), read_json(file(run)) | {"holding": step})
        say(f"Rehearsal: waiting for a signal after step {step}")
    until = time.monotonic() + PATIENCE_S
    timed_out = False
    while not group.highest_now(int(signals.requested() is not None or timed_out)):
        time.sleep(_POLL_INTERVAL_S)
        timed_out = group.rank == 0 and time.monotonic() >= until
    if timed_out:
        say(f"No signal came within {PATIENCE_S:g} s: continuing")
