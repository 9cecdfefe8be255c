"""What a run is doing: its own state (``state.json``) combined with that of Slurm or this machine.

Derived states (pending, cancelled, lost) are computed on every call and never written, so that a
temporary response of Slurm does not change what the run folder says later. Imports no torch.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.crash import crash_in, ran_out_of_memory
from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.local_process import process_of, stop
from hpc_dl.cluster.requeue import refusal_file
from hpc_dl.errors import ClusterError, Fault, HpcDlError, RunError
from hpc_dl.learning.metric_names import split_of
from hpc_dl.regular_files import read_bytes
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import holder_of
from hpc_dl.runs.predecessors import obstacle, waits_for
from hpc_dl.runs.provenance import user
from hpc_dl.runs.run_files import read_cancelled, read_job, read_result
from hpc_dl.runs.state import ENDED, read_state
from hpc_dl.tracking.journal import read_journal

# Failures that may not be the training's fault: a rank or its node failed, or the other ranks lost
# their connection to it.
_LOST_RANK = re.compile(r"gloo|NCCL|Connection (closed|reset)|was killed by|status 137")

_NOT_ENDED = ("pending", "running", "unknown")
_MOST_MESSAGE_BYTES = 64 << 10

_PLACE = {"step", "epoch", "time"}  # keys of a journal row that are not metrics
_WAITS_FOR_ITS_TURN = "waits for other runs of its sweep"
#: The reason of a state that may be out of date.
NO_RESPONSE = "Slurm did not respond; this is the last state that the run recorded"


def status(run: RunFolder) -> dict[str, Any]:
    """Return what one run is doing; see :func:`statuses`."""
    return statuses([run])[0]


def statuses(runs: Iterable[RunFolder]) -> list[dict[str, Any]]:
    """Return what runs are doing, with a single query to Slurm.

    Args:
        runs: the runs.

    Returns:
        For each run ``run``, ``dir``, ``state`` (see :data:`hpc_dl.runs.run_files.State`; unknown
        if Slurm reports a state that is neither alive nor an end for certain; unreadable if its
        folder is damaged, cannot be read or has another layout), ``job`` (a description),
        ``submitted``; where known ``reason``, ``rank`` and ``log`` of a failure, ``epoch`` and
        ``step`` reached, and ``metrics`` of a finished run.
    """
    runs = list(runs)
    jobs = {run: _facts_or_fault(run, lambda run: read_job(run.checked())) for run in runs}
    queried = (_facts_or_fault(run, _job_to_query) for run in runs)
    # Slurm is queried before the run's own state is read: a run that ends in between is then
    # reported as finished, not as lost.
    ids = [slurm.job_of(job) if isinstance(job, dict) else None for job in queried]
    infos = slurm.query_jobs(job_id for job_id in ids if job_id)
    return [_row_of(run, jobs[run], infos.get(id_) if id_ else None) for run, id_ in zip(runs, ids, strict=True)]


def cancel(run: RunFolder) -> bool:
    """Stop the job of a run.

    Args:
        run: the run.

    Returns:
        Whether the job was stopped; ``False`` if the run had already ended.

    Raises:
        RunError: the run was never launched.
        ClusterError: it runs on another machine, Slurm refuses, or does not end the job.
    """
    if status(run)["state"] in ENDED:
        return False
    job = read_job(run)
    if not job:
        raise RunError.at(run.name, "was never launched", remedy=f"delete {run.path} if you do not need it")
    if "job_id" not in job and job["host"] != socket.gethostname():
        raise ClusterError.at(run.name, f"runs on {job['host']}", remedy="cancel it there")
    write_json(run.cancelled, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "by": user()})
    try:
        if job.get("side_by_side"):
            pass  # its process looks for the file; a signal would reach the others, too
        elif job.get("members"):  # the other runs go on; one that waits is skipped
            if (job_id := slurm.job_of(job)) and read_state(run)["state"] == "running":
                slurm.send_signal(job_id, "TERM")
        elif job_id := slurm.job_of(job):
            for still_alive, info in slurm.cancel([job_id]).items():
                problem = f"accepted the request to cancel {still_alive.description}, but still reports {info.state}"
                remedy = f"try again, or see `scontrol show job {still_alive}`"
                raise ClusterError.at(run.name, f"Slurm {problem}", remedy=remedy)
        elif process := process_of(job):
            stop(process)
    except BaseException:
        run.cancelled.unlink(missing_ok=True)
        raise
    return True


def log_of(run: RunFolder, rank: int = 0) -> Path | None:
    """The log of a rank; if there is none, the output of its job; ``None`` if that is empty too."""
    if run.log(rank).exists():
        return run.log(rank)
    for pattern in ("*.out", "*.log"):
        times = {}
        for path in run.submitit.glob(pattern):
            with suppress(OSError):
                if (facts := path.stat()).st_size and path.is_file():
                    times[path] = facts.st_mtime
        if times:
            return max(times, key=lambda path: times[path])
    return None


def _facts_or_fault(run: RunFolder, read: Callable[[RunFolder], dict[str, Any]]) -> dict[str, Any] | Fault:
    """Read facts of a run; one that is damaged or cannot be read must not hide the others."""
    try:
        return read(run)
    except HpcDlError as error:
        return error.faults[0]
    except OSError as error:
        return Fault(error.filename or str(run.path), f"cannot be read: {error.strerror}")


def _row_of(run: RunFolder, job: dict[str, Any] | Fault, info: slurm.JobInfo | None) -> dict[str, Any]:
    facts = job if isinstance(job, Fault) else _facts_or_fault(run, lambda run: _combined(run, job, info))
    if not isinstance(facts, Fault):
        return facts
    reason = str(facts).removeprefix(f"{run.path}: ")
    return {"run": run.name, "dir": str(run.path), "state": "unreadable", "job": "", "submitted": None,
            "reason": reason}  # fmt: skip


def _combined(run: RunFolder, job: dict[str, Any], info: slurm.JobInfo | None) -> dict[str, Any]:
    own = read_state(run)
    job_state, reason = _state_of_job(run, job, info, started=own["state"] != "created")
    facts: dict[str, Any] = {"run": run.name, "dir": str(run.path), "state": own["state"], "job": _description(job)}
    facts["submitted"] = job.get("submitted") or own.get("time")
    if own["state"] == "finished":
        facts["metrics"] = read_result(run).get("metrics", {})
    elif run.cancelled.exists() and (
        own["state"] in ("failed", "cancelled") or job_state not in ("running", "unknown")
    ):
        # Cancelling may make the job fail; the cancellation is the better reason.
        facts |= {"state": "cancelled", "reason": _cancelled_by(run, own)}
    elif own["state"] == "stopped":
        facts |= _stopped(run, job, own, job_state, reason)
    elif not is_final(own) and own["state"] == "failed" and "job_id" in job and job_state in _NOT_ENDED:
        message = "it lost a rank" + ("; Slurm is determining whether a node failed" if job_state == "running" else "")
        facts |= {"state": job_state, "reason": f"{message}: {reason}" if reason else message}
    elif own["state"] in ENDED:
        facts |= {key: own[key] for key in ("reason", "rank", "log") if own.get(key) is not None}
        if _LOST_RANK.search(facts.get("reason", "")):
            facts["reason"] += f"; {_how_to_resume(run)}"
    else:
        facts["state"] = job_state or own["state"]
        if facts["state"] == "lost":
            if crash := crash_in(run.log(0)):
                reason = f"it crashed: {crash}"
            elif info and info.state == "FAILED" and ran_out_of_memory(log_of(run, rank=-1)):  # the log of the job
                reason = slurm.JobInfo("OUT_OF_MEMORY").explanation
            facts["reason"] = f"{reason}; {_how_to_resume(run)}"
            facts |= {"log": str(log)} if (log := log_of(run)) else {}
        elif reason:
            facts["reason"] = reason
    # The step that the training recorded when it ended is newer than the last row of the journal.
    end_step = {key: own[key] for key in ("step",) if own.get(key) is not None}
    progress = _facts_or_fault(run, _progress)
    if isinstance(progress, Fault):  # only the journal is damaged, and the state is still known
        return facts | {"reason": "; ".join(filter(None, [facts.get("reason"), str(progress)]))} | end_step
    return facts | progress | end_step


def is_final(own: dict[str, Any]) -> bool:
    """Whether a run's own state is final: Slurm cannot have requeued its job."""
    if own["state"] == "failed" and _LOST_RANK.search(str(own.get("reason", ""))):
        return False  # Slurm requeues a job whose node failed
    return own["state"] in ENDED - {"stopped"}


def _state_of_job(run: RunFolder, job: dict[str, Any], info: slurm.JobInfo | None, started: bool) -> tuple[str, str]:
    """The state and reason according to Slurm or this machine; the state is "" if neither knows."""
    if "job_id" in job:
        if info is None:
            return "", NO_RESPONSE
        if info.waits:
            waits = waits_for(run) if info.reason == "Dependency" else ""
            return "pending", f"{waits} (Dependency)" if waits else info.explanation
        if info.alive:
            if job.get("members") and not job.get("side_by_side") and not started:
                return "pending", _WAITS_FOR_ITS_TURN
            return "running", info.explanation or ("" if started else "the job is starting")
        if info.kind == "unclear":
            return "unknown", info.explanation
        if info.state == "CANCELLED":
            reason = obstacle(run) if not started else ""
            return "cancelled", f"not started: {reason}" if reason else "with Slurm's scancel, or by an administrator"
        return "lost", info.explanation
    if not job:
        return "", ""
    if job["host"] != socket.gethostname():
        return "", f"it runs on {job['host']}; check there whether it is alive"
    if process_of(job):
        if not started and job.get("members"):
            return "pending", _WAITS_FOR_ITS_TURN
        if not started and (waits := waits_for(run)):
            return "pending", waits
        return "running", "" if started else "the job is starting"
    if (holder := holder_of(run)) is not None:
        return "running", f"its launcher has ended, but it is still running in {holder}"
    return "lost", "its process ended without giving a reason (it was killed, or the machine restarted); see its log"


def _stopped(run: RunFolder, job: dict[str, Any], own: dict[str, Any], job_state: str, reason: str) -> dict[str, Any]:
    """The state and reason of a run whose own state is that it stopped with a checkpoint."""
    if job_state == "pending":
        return {"state": job_state, "reason": f"requeued, will resume at step {own['step']}: {reason}"}
    if job_state == "running" and job.get("launcher") != "train":  # `train` never starts a run again
        return {"state": job_state}
    if job_state in ("cancelled", "unknown"):
        return {"state": job_state, "reason": reason}
    if reason == NO_RESPONSE:
        return {"state": "stopped", "reason": reason}
    stop_reason = str(own.get("reason", "it received a stop request"))
    with suppress(FileNotFoundError):
        message = " ".join(read_bytes(refusal_file(run), _MOST_MESSAGE_BYTES).decode(errors="replace").split())
        stop_reason += f"; Slurm refused to requeue it: {message}"
    return {"state": "stopped", "reason": f"{stop_reason}; {_how_to_resume(run)}"}


def _cancelled_by(run: RunFolder, own: dict[str, Any]) -> str:
    by = f"by {read_cancelled(run).get('by', 'someone')}"
    if own.get("step") is None:
        return by
    return f"{by}, with a checkpoint at step {own['step']}; {_how_to_resume(run)}"


def _how_to_resume(run: RunFolder) -> str:
    return f"resume it with `hpc-dl resume {cli_name(run)}`"


def _job_to_query(run: RunFolder) -> dict[str, Any]:
    """The job of a run if Slurm may know more about it than the run itself; else empty."""
    return {} if run.layout_fault() or is_final(read_state(run)) else read_job(run)


def _progress(run: RunFolder) -> dict[str, Any]:
    # The test logs one epoch more than the training did.
    rows = [
        row for row in read_journal(run.journal) if not all(split_of(name) == "test" for name in row.keys() - _PLACE)
    ]
    return {key: rows[-1][key] for key in ("epoch", "step") if rows and rows[-1].get(key) is not None}


def _description(job: dict[str, Any]) -> str:
    if not job:
        return ""
    if job_id := JobId.of(job):
        return job_id.description
    return f"process {job['pid']} on {job['host']}"
