"""Cancelling a sweep: all of its members, with one request to Slurm."""

from __future__ import annotations

import socket
import time

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.local_process import process_of
from hpc_dl.cluster.status import cancel, statuses
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import user
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.state import ENDED
from hpc_dl.sweeps.folder import SweepFolder


def cancel_sweep(sweep: SweepFolder) -> list[RunFolder]:
    """Stop all members that have not ended, also those that wait for a place on this machine.

    Returns:
        The members that were stopped.

    Raises:
        ClusterError: Slurm refuses, or does not end a job; a member runs on another machine.
    """
    runs = sweep.runs()
    active = [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] not in ENDED]
    by_slurm = {}
    # Those that have not started come first, or the background process would start them.
    for run in active:
        job = read_job(run)
        job_id = slurm.job_of(job) if job else None
        if job_id is not None:
            by_slurm[run] = job_id
        if job_id is not None or not job:
            write_json(run.cancelled, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "by": user()})
    if by_slurm:
        try:
            alive = slurm.cancel(set(by_slurm.values()))
        except BaseException:
            for run in by_slurm:
                run.cancelled.unlink(missing_ok=True)
            raise
        for job_id, info in alive.items():
            raise ClusterError.at(
                sweep.name,
                f"Slurm accepted the request to cancel {job_id.description}, but still reports {info.state}",
                remedy="try again",
            )
    for run in active:
        if not run.cancelled.exists():
            cancel(run)
    _stop_starting(sweep)
    return active


def _stop_starting(sweep: SweepFolder) -> None:
    """End the processes of this machine that start members, or a resumed one could start twice."""
    for array in sweep.arrays.glob("[0-9]*"):
        job = read_job(RunFolder(array))
        here = job.get("launcher") == "local" and job.get("host") == socket.gethostname()
        if here and (process := process_of(job)):
            process.terminate()
