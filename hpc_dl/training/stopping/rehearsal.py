"""The training's part in a rehearsal (``hpc-dl rehearse``): it waits once, between two batches, for
a real signal.

``RUN/rehearsal.json`` holds ``hold_at_step``; when the training waits there, ``holding`` with the
step is added. What comes after the signal is what comes after any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.rank_group import RankGroup

#: Seconds after which the training goes on without a signal; less than the shortest
#: ``stall_timeout`` of a rehearsal.
PATIENCE_S = 300.0
_LOOK_S = 0.1


def file(run: RunFolder) -> Path:
    """What the rehearsal and the training tell each other."""
    return run.path / "rehearsal.json"


def hold_at(run: RunFolder, from_step: int) -> int | None:
    """Where to wait; ``None`` where there is no rehearsal, or the training begins at that step: it
    has been there.
    """
    step = (read_json(file(run)) or {}).get("hold_at_step")
    return None if step is None or from_step >= step else int(step)


def hold(run: RunFolder, group: RankGroup, step: int, say: Callable[[str], None]) -> None:
    """Wait until any rank has a signal; all ranks come out together."""
    if group.rank == 0:
        write_json(file(run), read_json(file(run)) | {"holding": step})
        say(f"A rehearsal: waiting after step {step} for a signal")
    until = time.monotonic() + PATIENCE_S
    impatient = False
    while not group.highest_now(int(signals.requested() is not None or impatient)):
        time.sleep(_LOOK_S)
        impatient = group.rank == 0 and time.monotonic() >= until
    if impatient:
        say(f"No signal came in {PATIENCE_S:g} s: going on")
