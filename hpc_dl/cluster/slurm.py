"""Asking Slurm: bounded in time, with or without accounting; silence is never taken for an answer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from hpc_dl.errors import ClusterError

_TIMEOUT_S = 20.0
_MOST_SINGLE_QUESTIONS = 20  # scontrol takes one job at a time, and the controller serves everybody

#: Our word for a job that the controller, asked for it by number, says it does not know.
FORGOTTEN = "FORGOTTEN"
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_ALIVE = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
)

# Beginnings of Slurm's reasons for waiting, in plain words; the first that fits is told.
_REASONS = (
    ("Priority", "other jobs are before it in the queue"),
    ("Resources", "waiting for nodes to become free; it is next"),
    ("BeginTime", "its start time is not reached yet; a requeued job waits about two minutes"),
    ("Dependency", "another job must end first"),
    ("JobHeldUser", "it is held; `scontrol release JOB` lets it go"),
    ("JobHeldAdmin", "an administrator holds it"),
    ("JobArrayTaskLimit", "enough tasks of its array run already"),
    ("PartitionTimeLimit", "it asks for more time than the partition allows; it will never start"),
    ("PartitionNodeLimit", "it asks for more nodes than the partition allows; it will never start"),
    ("PartitionConfig", "it asks for more than any node of the partition has; it will never start"),
    ("PartitionDown", "the partition is closed"),
    ("PartitionInactive", "the partition is closed"),
    ("ReqNodeNotAvail", "nodes that it needs are down, or reserved before it could end (maintenance)"),
    ("Reservation", "its reservation has not begun"),
    ("Licenses", "waiting for a license"),
    ("launch failed", "the node could not start it; it is held"),
    ("QOSMax", "a limit of the quality of service for you is reached"),
    ("QOSGrp", "a limit of the quality of service for all its users is reached"),
    ("QOS", "the quality of service does not allow it now"),
    ("AssocMax", "a limit of your account for you is reached"),
    ("AssocGrp", "a limit of your account for all its users is reached"),
    ("Assoc", "a limit of your account is reached"),
    ("BadConstraints", "no node fits what it asks for; it will never start"),
    ("Nodes required for job are DOWN", "nodes that it needs are down, drained or reserved"),
)

# What an end means that the job itself could not tell, and what to do about it.
_ENDS = {
    "OUT_OF_MEMORY": "it needed more main memory than it asked for; raise resources.memory",
    "TIMEOUT": "it reached its time limit before it could stop with a checkpoint",
    "DEADLINE": "it could not end before its deadline",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not start",
    "PREEMPTED": "a more urgent job took its nodes",
    "FAILED": "it failed before it could say why; see its log",
    "COMPLETED": "it ended without a result; see its log",
    FORGOTTEN: "Slurm no longer knows it, so it has ended; see its log",
}


@dataclass(frozen=True)
class JobInfo:
    """What Slurm says of one job.

    Attributes:
        state: Slurm's word (``PENDING``, ``RUNNING``, ``TIMEOUT``, …), or :data:`FORGOTTEN`.
        reason: Slurm's reason, as it stands; empty for none.
    """

    state: str
    reason: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in _WAITING

    @property
    def alive(self) -> bool:
        """Whether it runs, or is about to begin or end."""
        return self.state in _ALIVE

    @property
    def explanation(self) -> str:
        """In plain words why it waits, or what its end means; Slurm's own word goes with it."""
        if not self.waits:
            return f"Slurm says {self.state}: {_ENDS.get(self.state, 'see its log')}"
        if not self.reason:
            return "waiting in the queue"
        plain = next((words for start, words in _REASONS if self.reason.startswith(start)), None)
        return f"{plain} ({self.reason})" if plain else self.reason


def ask(job_ids: Iterable[str]) -> dict[str, JobInfo]:
    """What Slurm says of several jobs, with as few questions as possible.

    The controller is asked first, then the accounting, then the controller again for each job that
    is left: only that last question has an explicit "no such job" for an answer.

    Args:
        job_ids: Slurm's numbers.

    Returns:
        The jobs that Slurm spoke of. One that is missing is not gone: there was no answer.
    """
    wanted = sorted(set(job_ids))
    known: dict[str, JobInfo] = {}
    for question in (_squeue, _sacct):
        if missing := [job_id for job_id in wanted if job_id not in known]:
            known |= question(missing)
    missing = [job_id for job_id in wanted if job_id not in known]
    for job_id in missing[:_MOST_SINGLE_QUESTIONS]:
        if (info := _scontrol(job_id)) is not None:
            known[job_id] = info
    return known


def cancel(job_ids: Iterable[str]) -> None:
    """Ask Slurm to end jobs; one that has ended already is no error.

    Raises:
        ClusterError: Slurm refuses, or does not answer.
    """
    done = _run("scancel", *job_ids)
    if done is None:
        raise ClusterError.at("scancel", "Slurm does not answer", remedy="try again in a minute")
    if done.returncode and "Invalid job id" not in done.stderr and "already" not in done.stderr:
        raise ClusterError.at("scancel", _sentence(done.stderr), remedy="see `squeue --me`")


def send_signal(job_id: str, name: str) -> None:
    """Send a signal to the ranks of a job, not to its batch script.

    Raises:
        ClusterError: Slurm refuses, or does not answer.
    """
    done = _run("scancel", f"--signal={name}", job_id)
    if done is None or done.returncode:
        raise ClusterError.at("scancel", _sentence(done.stderr) if done else "Slurm does not answer")


def job_facts(job_id: str) -> dict[str, str]:
    """What the controller says of a job (``StartTime``, ``SubmitTime``, …); empty where it does not
    answer.
    """
    return next(iter(_shown("job", job_id)), {})


def partition_facts() -> list[dict[str, str]]:
    """What the controller says of each partition; empty where it does not answer."""
    return _shown("partition")


def configuration() -> dict[str, str]:
    """Slurm's settings (``KillWait``, …); empty where the controller does not answer."""
    done = _run("scontrol", "show", "config")
    lines = done.stdout.splitlines() if done and not done.returncode else []
    return {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


def partitions() -> list[str]:
    """Names of the partitions; empty when Slurm does not answer."""
    done = _run("sinfo", "--noheader", "--format=%R")
    return sorted(set(done.stdout.split())) if done and not done.returncode else []


def _squeue(job_ids: list[str]) -> dict[str, JobInfo]:
    done = _run("squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", "--format=%i|%T|%r")
    return _table(done.stdout, job_ids) if done and not done.returncode else {}


def _sacct(job_ids: list[str]) -> dict[str, JobInfo]:
    options = ("--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State,Reason")
    done = _run("sacct", *options, f"--jobs={','.join(job_ids)}")
    return _table(done.stdout, job_ids) if done and not done.returncode else {}


def _scontrol(job_id: str) -> JobInfo | None:
    done = _run("scontrol", "--oneliner", "show", "job", job_id)
    if done is None:
        return None
    if done.returncode:
        return JobInfo(FORGOTTEN) if "Invalid job id" in done.stderr else None
    fields = _fields(done.stdout)
    return JobInfo(fields["JobState"], _reason(fields.get("Reason", ""))) if "JobState" in fields else None


def _shown(*words: str) -> list[dict[str, str]]:
    done = _run("scontrol", "--oneliner", "show", *words)
    lines = done.stdout.splitlines() if done and not done.returncode else []
    return [_fields(line) for line in lines]


def _fields(line: str) -> dict[str, str]:
    return {key: value for key, equals, value in (word.partition("=") for word in line.split()) if equals}


def _table(text: str, job_ids: list[str]) -> dict[str, JobInfo]:
    rows = [line.strip().split("|") for line in text.splitlines()]
    # "CANCELLED by 1000", "RUNNING+": the first word is the state.
    return {
        row[0]: JobInfo(row[1].split()[0].rstrip("+"), _reason(row[2]))
        for row in rows
        if len(row) >= 3 and row[0] in job_ids and row[1].strip()
    }


def _reason(text: str) -> str:
    text = text.strip().strip("()")
    return "" if text in ("None", "") else text


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run one of Slurm's commands; ``None`` where it does not exist or does not answer in time."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
