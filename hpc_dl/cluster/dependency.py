"""Jobs that start after others: options of sbatch, and our own checks.

Measured on Slurm 22.05: ``afterok`` waits through requeues of the earlier job. With
``--kill-on-invalid-dep`` a job whose dependency failed is cancelled within seconds, and so are
those that depend on it; without the option it stays PENDING for ever. sbatch also accepts a
dependency on a job that the controller has forgotten, and then starts at once: hence the check by
the job itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.status import NO_RESPONSE, statuses
from hpc_dl.errors import ClusterError, Fault, RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.predecessors import obstacle, predecessors, waits_for
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.state import DONE, ENDED, write_state

_POLL_S = 1.0
_POLL_SLURM_S = 10.0  # seldom: all users share the controller
_FILES_ARRIVE_S = 60.0  # on a shared file system, after the job that wrote them has ended


def unfinished(earlier: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the runs that must still finish.

    Args:
        earlier: the runs that another one needs.

    Raises:
        RunError: some have ended without a result or were never started; with one fault for each.
    """
    rows = statuses(earlier)
    faults = [
        Fault(other.name, f"cannot be waited for: {problem}", remedy="resume it first, or start without it")
        for other, facts in zip(earlier, rows, strict=True)
        if (problem := _why_it_will_not_finish(facts))
    ]
    if faults:
        raise RunError(*faults)
    return [other for other, facts in zip(earlier, rows, strict=True) if facts["state"] not in DONE]


def sbatch_options(earlier: Sequence[RunFolder], options: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the options that make a job start after the jobs of other runs.

    Args:
        earlier: the runs that have not finished.
        options: the options of the new job so far, by name.

    Raises:
        ClusterError: the new job cannot wait for one of them: it is no Slurm job, or on another
            cluster.
    """
    if not earlier:
        return {}
    conditions = [condition] if (condition := options.get("dependency")) else []
    jobs: dict[str, JobId] = {}
    for other in earlier:
        job = read_job(other)
        job_id = slurm.job_of(job)
        if job_id is None:
            raise ClusterError.at(
                other.name,
                "is not a Slurm job, so a Slurm job cannot wait for it",
                remedy="submit this run when that one has finished",
            )
        jobs[other.name] = job_id
        # A task that trains several runs fails with any of them: there the check by the new job
        # itself decides.
        conditions.append(f"{'afterany' if job.get('members') else 'afterok'}:{job_id}")
    pinned = _pinned_cluster(jobs, [name for name in (options.get("clusters") or "").split(",") if name])
    return {"dependency": ",".join(dict.fromkeys(conditions)), "kill-on-invalid-dep": "yes", **pinned}


def _pinned_cluster(jobs: Mapping[str, JobId], requested: Sequence[str]) -> dict[str, str | None]:
    """The option that sends a job to the cluster of the jobs that it waits for.

    Args:
        jobs: the jobs, by the names of their runs.
        requested: the clusters that the new job may run on; empty for that of this machine.
    """
    if not requested and not any(job.cluster for job in jobs.values()):
        return {}
    local = slurm.local_cluster()
    names = {job.cluster or local for job in jobs.values()}
    if len(names) == 1 and names <= set(requested or [local]):
        return {"clusters": names.pop()} if requested else {}
    raise ClusterError.at(
        ", ".join(jobs),
        "runs on another cluster, and jobs can only wait for jobs of their own",
        value=", ".join(sorted(names)),
        allowed=", ".join(requested) or local,
        remedy="set `sbatch: {clusters: NAME}` in the site profile",
    )


def check_before_start(run: RunFolder, patience_s: float = _FILES_ARRIVE_S) -> str:
    """Return why the run must not start; "" if it may.

    Args:
        run: whose job has just started.
        patience_s: how long a predecessor's result may take to appear on this machine.
    """
    predecessors(run)  # reports a damaged list
    deadline = time.monotonic() + patience_s
    while waits := waits_for(run):
        if problem := obstacle(run) or (time.monotonic() > deadline and f"it still {waits}"):
            return f"not started: {problem}"
        time.sleep(_POLL_S)
    return ""


def wait(run: RunFolder, stopped: Callable[[], bool]) -> bool:
    """Wait until the predecessors of a run in the background have finished.

    Args:
        run: the run; if one of them fails, its state becomes cancelled.
        stopped: whether to give up.

    Returns:
        Whether the run may start.
    """
    poll_s = _POLL_SLURM_S if any("job_id" in read_job(other) for other in predecessors(run)) else _POLL_S
    failed_before = False  # the last files of a job may arrive after Slurm's report of its end
    while not stopped():
        try:
            if not unfinished(predecessors(run)):
                return True
            failed_before = False
        except RunError as error:
            if failed_before:
                reason = obstacle(run) or "; ".join(str(fault) for fault in error.faults)
                write_state(run, "cancelled", reason=f"not started: {reason}")
                return False
            failed_before = True
        time.sleep(poll_s)
    return False


def _why_it_will_not_finish(facts: Mapping[str, str]) -> str:
    state = facts["state"]
    if facts.get("reason") == NO_RESPONSE or state in DONE:
        return ""
    if state == "created":
        return "it was never launched"
    return f"it is {state}: {facts.get('reason', '')}".rstrip(": ") if state in ENDED | {"unreadable"} else ""
