"""Which members of a sweep can be submitted again, found out before torch is imported."""

from __future__ import annotations

from hpc_dl.cluster.status import statuses
from hpc_dl.runs.folder import RunFolder
from hpc_dl.sweeps.folder import SweepFolder

_FAILED = ("failed", "lost")
_UNFINISHED = (*_FAILED, "diverged", "stopped", "cancelled", "created")


def resumable_members(sweep: SweepFolder, *, only_failed: bool) -> list[RunFolder]:
    """Return the members that have ended without a result and are not queued.

    Args:
        sweep: the sweep.
        only_failed: whether to leave out those that stopped, diverged or were cancelled.
    """
    states = _FAILED if only_failed else _UNFINISHED
    runs = sweep.runs()
    return [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] in states]
