"""What became of a run: its own word (``state.json``) joined with that of Slurm or of this machine.
Imports no torch.

Derived states (pending, cancelled, lost) are computed at each look and never written: what Slurm
answers today must not decide what the run's folder says tomorrow.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.requeue import refusal
from hpc_dl.errors import ClusterError, RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import holder_of
from hpc_dl.runs.provenance import user
from hpc_dl.runs.state import ENDED, read_state

_STOP_S = 30.0  # for the running step and the checkpoint; Slurm's own patience (KillWait) is as long by default

# Failures that say nothing against the training itself: a rank or its node died, or the others saw
# it vanish.
_OTHERS_DIED = re.compile(r"gloo|NCCL|Connection (closed|reset)|was killed by|status 137")

#: Why a state may be out of date.
SILENCE = "Slurm did not answer; this is the run's own last word"


def status(run: RunFolder) -> dict[str, Any]:
    """What one run is doing; see :func:`statuses`."""
    return statuses([run])[0]


def statuses(runs: Iterable[RunFolder]) -> list[dict[str, Any]]:
    """What runs are doing, with one question to Slurm for all of them.

    Args:
        runs: the runs.

    Returns:
        For each run ``run``, ``dir``, ``state`` (created, pending, running, stopped, finished,
        failed, cancelled, lost), ``job`` (in words), ``submitted``; where known ``reason``,
        ``rank`` and ``log`` of a failure, ``epoch`` and ``step`` reached, and ``metrics`` of a
        finished run.
    """
    found = [(run, _job_of(run)) for run in runs]
    ended = {run for run, _ in found if _ended_for_good(read_state(run))}
    # Slurm first, the run's own word after it: a run that ends in between is then finished, not
    # lost.
    told = slurm.ask(job["job_id"] for run, job in found if run not in ended and "job_id" in job)
    return [_joined(run, job, told) for run, job in found]


def cancel(run: RunFolder) -> bool:
    """Ask the job of a run to stop.

    Args:
        run: the run.

    Returns:
        Whether it was asked; ``False`` when the run had already ended.

    Raises:
        RunError: nothing tells where the run runs.
        ClusterError: it runs on another machine, or Slurm refuses.
    """
    if status(run)["state"] in ENDED:
        return False
    job = _job_of(run)
    if not job:
        raise RunError.at(run.name, "was never launched", remedy=f"delete {run.path} if it is not needed")
    if "job_id" not in job and job["host"] != socket.gethostname():
        raise ClusterError.at(run.name, f"runs on {job['host']}", remedy="cancel it there")
    write_json(run.cancelled, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "by": user()})
    try:
        if "job_id" in job:
            slurm.cancel([job["job_id"]])
        elif process := _process(job):
            _stop(process)
    except BaseException:
        run.cancelled.unlink(missing_ok=True)
        raise
    return True


def log_of(run: RunFolder, rank: int = 0) -> Path | None:
    """The log of a rank; until there is one, what Slurm or Python printed before it; ``None`` when
    nothing did.
    """
    if run.log(rank).exists():
        return run.log(rank)
    early = [path for path in run.submitit.glob("*.out") if path.stat().st_size]
    early = early or [path for path in run.submitit.glob("*.log") if path.stat().st_size]
    return max(early, key=lambda path: path.stat().st_mtime, default=None)


def _joined(run: RunFolder, job: dict[str, Any], told: dict[str, slurm.JobInfo]) -> dict[str, Any]:
    own = read_state(run)
    word, reason = _launcher_word(run, job, told, began=own["state"] != "created")
    facts: dict[str, Any] = {"run": run.name, "dir": str(run.path), "state": own["state"], "job": _in_words(job)}
    facts["submitted"] = job.get("submitted") or own.get("time")
    if own["state"] == "finished":
        facts["metrics"] = (read_json(run.result) or {}).get("metrics", {})
    elif run.cancelled.exists() and (own["state"] in ("failed", "cancelled") or word != "running"):
        # A job may fail while it is cancelled; that it was asked to end is the better reason.
        facts |= {"state": "cancelled", "reason": _by(run, own)}
    elif own["state"] == "stopped":
        facts |= _stopped(run, job, own, word, reason)
    elif not _ended_for_good(own) and own["state"] == "failed" and "job_id" in job and word in ("pending", "running"):
        lost = "it lost a rank" + ("; Slurm is finding out whether a node failed" if word == "running" else "")
        facts |= {"state": word, "reason": f"{lost}: {reason}" if reason else lost}
    elif own["state"] in ENDED:
        facts |= {key: own[key] for key in ("reason", "rank", "log") if own.get(key) is not None}
        if _OTHERS_DIED.search(facts.get("reason", "")):
            facts["reason"] += f"; {_how_to_go_on(run)}"
    else:
        facts["state"] = word or own["state"]
        if facts["state"] == "lost":
            facts["reason"] = f"{reason}; {_how_to_go_on(run)}"
            facts |= {"log": str(log)} if (log := log_of(run)) else {}
        elif reason:
            facts["reason"] = reason
    return facts | _progress(run)


def _ended_for_good(own: dict[str, Any]) -> bool:
    """Whether a run's own word is the last: not where Slurm may have put its job back into the
    queue.
    """
    if own["state"] == "failed" and _OTHERS_DIED.search(str(own.get("reason", ""))):
        return False  # a failed node, perhaps
    return own["state"] in ENDED - {"stopped"}


def _launcher_word(run: RunFolder, job: dict[str, Any], told: dict[str, slurm.JobInfo], began: bool) -> tuple[str, str]:
    """State and reason as Slurm or this machine sees them; an empty state where neither knows."""
    if "job_id" in job:
        info = told.get(job["job_id"])
        if info is None:
            return "", SILENCE
        if info.waits:
            return "pending", info.explanation
        if info.alive:
            return "running", "" if began else "the job is starting"
        if info.state == "CANCELLED":
            return "cancelled", "with Slurm's scancel, or by an administrator"
        return "lost", info.explanation
    if not job:
        return "", ""
    if job["host"] != socket.gethostname():
        return "", f"it runs on {job['host']}; look there whether it is alive"
    if _process(job):
        return "running", "" if began else "the job is starting"
    if (holder := holder_of(run)) is not None:
        return "running", f"its launcher is gone, but it is still at work in {holder}"
    return "lost", "its process is gone without a word (killed, or the machine was restarted); see its log"


def _stopped(run: RunFolder, job: dict[str, Any], own: dict[str, Any], word: str, reason: str) -> dict[str, Any]:
    """State and reason of a run whose own last word is that it stopped with a checkpoint."""
    if word == "pending":
        return {"state": word, "reason": f"requeued, goes on at step {own['step']}: {reason}"}
    if word == "running" and job.get("launcher") != "train":  # that one starts nothing again
        return {"state": word}
    if word == "cancelled":
        return {"state": word, "reason": reason}
    if reason == SILENCE:
        return {"state": "stopped", "reason": reason}
    why = str(own.get("reason", "it was asked to"))
    with suppress(FileNotFoundError):
        said = " ".join(refusal(run).read_text(encoding="utf-8", errors="replace").split())
        why += f"; Slurm refused to requeue it: {said}"
    return {"state": "stopped", "reason": f"{why}; {_how_to_go_on(run)}"}


def _by(run: RunFolder, own: dict[str, Any]) -> str:
    by = f"by {read_json(run.cancelled)['by']}"
    if own.get("step") is None:
        return by
    return f"{by}, with a checkpoint at step {own['step']}; {_how_to_go_on(run)}"


def _how_to_go_on(run: RunFolder) -> str:
    return f"go on with `hpc-dl resume {run.word}`"


def _job_of(run: RunFolder) -> dict[str, Any]:
    """How the run was launched; empty for one that is being prepared."""
    job: dict[str, Any] = read_json(run.job) or {}
    return job


def _process(job: dict[str, Any]) -> psutil.Process | None:
    """The live process of a job on this machine; ``None`` if it is gone, or its number is now
    somebody else's.
    """
    try:
        process = psutil.Process(job["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if abs(process.create_time() - job["process_started"]) < 1 else None
    except psutil.NoSuchProcess:
        return None


def _stop(process: psutil.Process) -> None:
    """SIGTERM, which is passed on to all ranks; SIGKILL for all that is left of them after a while."""
    family = [process, *process.children(recursive=True)]
    try:
        process.terminate()
        process.wait(_STOP_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        for member in family:
            if member.is_running():
                member.kill()


def _progress(run: RunFolder) -> dict[str, Any]:
    from hpc_dl.tracking.journal import read_journal

    rows = read_journal(run.journal)
    found = {key: rows[-1][key] for key in ("epoch", "step") if rows and rows[-1].get(key) is not None}
    # What the training said as it ended is newer than its last row.
    ended = read_state(run).get("step")
    return found if ended is None else found | {"step": ended}


def _in_words(job: dict[str, Any]) -> str:
    if not job:
        return ""
    return f"Slurm job {job['job_id']}" if "job_id" in job else f"process {job['pid']} on {job['host']}"
