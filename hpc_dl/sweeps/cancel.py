"""Cancelling a sweep: all of its members, with one request to Slurm."""

from __future__ import annotations

import socket
import time

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.local_process import process_of
from hpc_dl.cluster.status import cancel, statuses
from hpc_dl.errors import Fault, HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import user
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.state import ENDED, read_state
from hpc_dl.sweeps.folder import SweepFolder


def cancel_sweep(sweep: SweepFolder) -> list[RunFolder]:
    """Stop all members that have not ended, also those that wait for a place on this machine.

    Returns:
        The members that were stopped.

    Raises:
        HpcDlError: with the faults of the members that could not be stopped: a folder is damaged,
            one runs on another machine, Slurm refuses, or does not end a job. The others are.
    """
    runs = sweep.runs()
    active = [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] not in ENDED]
    stopped: list[RunFolder] = []
    by_slurm: dict[RunFolder, JobId] = {}
    local: list[RunFolder] = []
    faults: list[Fault] = []
    for run in active:
        try:
            job = read_job(run.checked())
            job_id = slurm.job_of(job) if job else None
            if job_id is None and job:
                local.append(run)
                continue
            write_json(run.cancelled, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "by": user()})
            if job_id is None:
                stopped.append(run)
            else:
                by_slurm[run] = job_id
        except HpcDlError as error:
            faults += error.faults
        except OSError as error:
            faults.append(Fault(str(run.path), f"cannot be cancelled: {error.strerror}"))
    if by_slurm:
        try:
            alive = slurm.cancel(set(by_slurm.values()))
            stopped += by_slurm
            remaining = ((job_id.description, info.state) for job_id, info in alive.items())
            faults += [
                Fault(
                    sweep.name,
                    f"Slurm accepted the request to cancel {job}, but still reports {state}",
                    remedy="try again",
                )
                for job, state in remaining
            ]
        except BaseException as error:
            for run in by_slurm:
                run.cancelled.unlink(missing_ok=True)
            if not isinstance(error, HpcDlError):
                raise
            faults += error.faults
    # Those that wait come first, or the background process would start them.
    for run in sorted(local, key=lambda run: read_state(run)["state"] != "created"):
        try:
            if cancel(run):
                stopped.append(run)
        except HpcDlError as error:
            faults += error.faults
    _stop_starting(sweep)
    if faults:
        raise HpcDlError(*faults)
    return stopped


def _stop_starting(sweep: SweepFolder) -> None:
    """End the processes of this machine that start members, or a resumed one could start twice."""
    for array in sweep.submissions():
        job = read_job(array)
        here = job.get("launcher") == "local" and job.get("host") == socket.gethostname()
        if here and (process := process_of(job)):
            process.terminate()
