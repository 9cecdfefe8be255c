"""Queries to Slurm, with a timeout, with or without accounting; no response is never a result."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from hpc_dl.errors import ClusterError

_TIMEOUT_S = 20.0
_MOST_SCONTROL_QUERIES = 20  # one per job, and all users share the controller

#: Our name for the state of a job whose id the controller does not know (anymore).
FORGOTTEN = "FORGOTTEN"
_WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_ALIVE = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"}
)

# Explanations of Slurm's reasons for waiting, by how the reason starts; the first match counts.
_REASONS = (
    ("Priority", "other jobs are ahead of it in the queue"),
    ("Resources", "it is next, and waits for nodes to become free"),
    ("BeginTime", "its earliest start time has not been reached; a requeued job waits about two minutes"),
    ("Dependency", "another job must end first"),
    ("JobHeldUser", "it is held; release it with `scontrol release JOB`"),
    ("JobHeldAdmin", "an administrator holds it"),
    ("JobArrayTaskLimit", "the maximum number of tasks of its array is running"),
    ("PartitionTimeLimit", "it requests more time than the partition allows; it will never start"),
    ("PartitionNodeLimit", "it requests more nodes than the partition allows; it will never start"),
    ("PartitionConfig", "it requests more than any node of the partition has; it will never start"),
    ("PartitionDown", "the partition accepts no jobs at present"),
    ("PartitionInactive", "the partition accepts no jobs at present"),
    ("ReqNodeNotAvail", "nodes that it needs are down, or reserved (maintenance) before the job could end"),
    ("Reservation", "its reservation has not started"),
    ("Licenses", "it waits for a license"),
    ("launch failed", "a node failed to start it, so it is held; release it with `scontrol release JOB`"),
    ("QOSMax", "you have reached a limit of the quality of service (QOS)"),
    ("QOSGrp", "all users of the quality of service (QOS) together have reached a limit"),
    ("QOS", "the quality of service (QOS) does not allow it at present"),
    ("AssocMax", "you have reached a limit of your account"),
    ("AssocGrp", "all users of your account together have reached a limit"),
    ("Assoc", "your account has reached a limit"),
    ("BadConstraints", "no node meets its constraints; it will never start"),
    ("Nodes required for job are DOWN", "nodes that it needs are down, drained or reserved"),
)

# The meaning of an end that the job could not record itself, and what to do about it.
_END_STATES = {
    "OUT_OF_MEMORY": "it needed more main memory than it requested; increase resources.memory",
    "TIMEOUT": "it reached its time limit before it could stop with a checkpoint",
    "DEADLINE": "it did not end before its deadline",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not start",
    "PREEMPTED": "a job with a higher priority took its nodes",
    "FAILED": "it failed without giving a reason; see its log",
    "COMPLETED": "it ended without a result; see its log",
    FORGOTTEN: "Slurm no longer knows the job, so it has ended; see its log",
}


@dataclass(frozen=True)
class JobInfo:
    """The state of a job according to Slurm.

    Attributes:
        state: Slurm's state (``PENDING``, ``RUNNING``, ``TIMEOUT``, …), or :data:`FORGOTTEN`.
        reason: Slurm's reason, unchanged; empty if there is none.
    """

    state: str
    reason: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has not started."""
        return self.state in _WAITING

    @property
    def alive(self) -> bool:
        """Whether it is running, starting or ending."""
        return self.state in _ALIVE

    @property
    def explanation(self) -> str:
        """The reason why it waits, or the meaning of its end, with Slurm's own term."""
        if not self.waits:
            if self.state == FORGOTTEN:
                return _END_STATES[FORGOTTEN]
            return f"Slurm reports {self.state}: {_END_STATES.get(self.state, 'see its log')}"
        if not self.reason:
            return "it waits in the queue"
        text = next((text for beginning, text in _REASONS if self.reason.startswith(beginning)), None)
        return f"{text} ({self.reason})" if text else self.reason


def query_jobs(job_ids: Iterable[str]) -> dict[str, JobInfo]:
    """Return the states of several jobs, with as few queries as possible.

    ``squeue`` comes first, then ``sacct`` for the jobs that it did not list, then ``scontrol`` for
    each job that is still missing: only scontrol reports explicitly that a job does not exist.

    Args:
        job_ids: Slurm's job ids.

    Returns:
        The jobs that Slurm reported. The state of a missing one is unknown: Slurm did not respond.
    """
    requested = sorted(set(job_ids))
    known: dict[str, JobInfo] = {}
    for query in (_squeue, _sacct):
        if missing := [job_id for job_id in requested if job_id not in known]:
            known |= query(missing)
    missing = [job_id for job_id in requested if job_id not in known]
    for job_id in missing[:_MOST_SCONTROL_QUERIES]:
        if (info := _scontrol(job_id)) is not None:
            known[job_id] = info
    return known


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs; jobs that have already ended are ignored.

    Raises:
        ClusterError: Slurm refuses, or does not respond.
    """
    result = _run("scancel", *job_ids)
    if result is None:
        raise ClusterError.at("scancel", "Slurm does not respond", remedy="try again in a minute")
    if result.returncode and "Invalid job id" not in result.stderr and "already" not in result.stderr:
        raise ClusterError.at("scancel", _last_line(result.stderr), remedy="see `squeue --me`")


def send_signal(job_id: str, name: str) -> None:
    """Send a signal to the ranks of a job, not to its batch script.

    Raises:
        ClusterError: Slurm refuses, or does not respond.
    """
    result = _run("scancel", f"--signal={name}", job_id)
    if result is None or result.returncode:
        raise ClusterError.at("scancel", _last_line(result.stderr) if result else "Slurm does not respond")


def job_facts(job_id: str) -> dict[str, str]:
    """Return the controller's facts about a job (``StartTime``, …); empty if it is silent."""
    return next(iter(_scontrol_show("job", job_id)), {})


def partition_facts() -> list[dict[str, str]]:
    """Return the controller's facts about each partition; empty if it does not respond."""
    return _scontrol_show("partition")


def configuration() -> dict[str, str]:
    """Return Slurm's settings (``KillWait``, …); empty if the controller does not respond."""
    result = _run("scontrol", "show", "config")
    lines = result.stdout.splitlines() if result and not result.returncode else []
    return {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


def partitions() -> list[str]:
    """Return the names of the partitions; empty if Slurm does not respond."""
    result = _run("sinfo", "--noheader", "--format=%R")
    return sorted(set(result.stdout.split())) if result and not result.returncode else []


def _squeue(job_ids: list[str]) -> dict[str, JobInfo]:
    result = _run("squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", "--format=%i|%T|%r")
    return _table(result.stdout, job_ids) if result and not result.returncode else {}


def _sacct(job_ids: list[str]) -> dict[str, JobInfo]:
    options = ("--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State,Reason")
    result = _run("sacct", *options, f"--jobs={','.join(job_ids)}")
    return _table(result.stdout, job_ids) if result and not result.returncode else {}


def _scontrol(job_id: str) -> JobInfo | None:
    result = _run("scontrol", "--oneliner", "show", "job", job_id)
    if result is None:
        return None
    if result.returncode:
        return JobInfo(FORGOTTEN) if "Invalid job id" in result.stderr else None
    fields = _fields(result.stdout)
    return JobInfo(fields["JobState"], _reason(fields.get("Reason", ""))) if "JobState" in fields else None


def _scontrol_show(*arguments: str) -> list[dict[str, str]]:
    result = _run("scontrol", "--oneliner", "show", *arguments)
    lines = result.stdout.splitlines() if result and not result.returncode else []
    return [_fields(line) for line in lines]


def _fields(line: str) -> dict[str, str]:
    return {key: value for key, equals, value in (field.partition("=") for field in line.split()) if equals}


def _table(text: str, job_ids: list[str]) -> dict[str, JobInfo]:
    rows = [line.strip().split("|") for line in text.splitlines()]
    # The state may be followed by more: "CANCELLED by 1000", "RUNNING+".
    return {
        row[0]: JobInfo(row[1].split()[0].rstrip("+"), _reason(row[2]))
        for row in rows
        if len(row) >= 3 and row[0] in job_ids and row[1].strip()
    }


def _reason(text: str) -> str:
    text = text.strip().strip("()")
    return "" if text in ("None", "") else text


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm; ``None`` if it does not exist or does not respond in time."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
