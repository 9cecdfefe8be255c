"""Which members of a sweep can be submitted again, found out before torch is imported."""

from __future__ import annotations

import socket

from hpc_dl.cluster.local_process import process_of
from hpc_dl.cluster.status import statuses
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_job
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
    runs, waiting = sweep.runs(), _waiting(sweep)
    return [
        run
        for run, facts in zip(runs, statuses(runs), strict=True)
        if facts["state"] in states and not (facts["state"] == "created" and run.name in waiting)
    ]


def _waiting(sweep: SweepFolder) -> set[str]:
    """Return the members of submissions whose process of this machine still starts members."""
    names: set[str] = set()
    for array in sweep.submissions():
        job = read_job(array)
        if job.get("launcher") == "local" and job.get("host") == socket.gethostname() and process_of(job):
            names |= set((array.path / "tasks").read_text(encoding="utf-8").split())
    return names
