"""Which members of a sweep can be submitted again, found out before torch is imported."""

from __future__ import annotations

import socket

from hpc_dl.cluster.status import process_of, statuses
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
    states = set(_FAILED if only_failed else _UNFINISHED)
    if _starts_members(sweep):
        states -= {"created"}  # they are waiting for a place on this machine
    runs = sweep.runs()
    return [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] in states]


def _starts_members(sweep: SweepFolder) -> bool:
    """Whether a process of this machine is still starting members one after another."""
    jobs = (read_job(RunFolder(array)) for array in sweep.arrays.glob("[0-9]*"))
    return any(job.get("host") == socket.gethostname() and process_of(job) for job in jobs if "pid" in job)
