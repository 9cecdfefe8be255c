"""Whether a run can be resumed, found out before torch is imported."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from hpc_dl.cluster import slurm
from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.local_process import process_of
from hpc_dl.cluster.status import status
from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import holder_of
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.state import read_state


def check_resumable(run: RunFolder) -> dict[str, Any]:
    """Check that a run can be resumed.

    Returns:
        Its status.

    Raises:
        RunError: it is running or pending, or Slurm does not report whether it is.
    """
    facts = status(run)
    state = facts["state"]
    if state not in ("pending", "running", "unknown") and (holder := holder_of(run)) is not None:
        raise RunError.at(run.name, f"is still running in {holder}", remedy="wait for it, or end that process")
    if state == "unknown":
        raise RunError.at(
            run.name,
            f"may still be queued or running ({facts['job']}): {facts['reason']}",
            remedy=f"wait until Slurm reports its end, or stop it first: hpc-dl cancel {cli_name(run)}",
        )
    if state in ("pending", "running"):
        unsure = "; it is unknown whether it still is" if "did not respond" in facts.get("reason", "") else ""
        raise RunError.at(
            run.name, f"is {state} ({facts['job']}){unsure}", remedy=f"stop it first: hpc-dl cancel {cli_name(run)}"
        )
    if reached_later([run]):
        raise RunError.at(
            run.name,
            f"was cancelled before its turn, and its job ({facts['job']}) still trains other runs",
            remedy="wait until that job has ended, or cancel the sweep first",
        )
    return facts


def reached_later(runs: Iterable[RunFolder]) -> set[RunFolder]:
    """Return the runs that wait for a job, or a process of this machine, which starts several.

    A cancelled one is among them: it is only skipped as long as it is cancelled, so resuming it
    would train it twice. Where Slurm does not respond, the job may be alive.
    """
    jobs = {run: read_job(run) for run in runs if read_state(run)["state"] == "created"}
    jobs = {run: job for run, job in jobs.items() if job.get("members")}
    ids = {run: job_id for run, job in jobs.items() if (job_id := slurm.job_of(job))}
    infos = slurm.query_jobs(ids.values())
    on_slurm = {run for run, job_id in ids.items() if (info := infos.get(job_id)) is None or info.kind != "ended"}
    here = {
        run
        for run, job in jobs.items()
        if run not in ids and job["host"] == socket.gethostname() and process_of(job) is not None
    }
    return on_slurm | here
