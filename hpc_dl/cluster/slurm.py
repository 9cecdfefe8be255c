"""Queries to Slurm, with a timeout, with or without accounting; no response is never a result."""

from __future__ import annotations

import datetime
import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.job_info import FORGOTTEN as FORGOTTEN
from hpc_dl.cluster.job_info import JobInfo as JobInfo
from hpc_dl.errors import ClusterError

_TIMEOUT_S = 20.0
_MOST_SCONTROL_QUERIES = 20  # one per job, and all users share the controller
_CANCEL_S, _POLL_S = 10.0, 0.5

# Filters and formats that users set for their own queries: they would hide jobs from ours.
_CLIENT_SETTINGS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")


def job_of(job: Mapping[str, Any]) -> JobId | None:
    """Return the identity of the job in a ``job.json``; ``None`` if it names no Slurm job.

    A job that noted the cluster it runs on may be asked about from another one of the site.
    """
    identity = JobId.of(job)
    home = job.get("home_cluster")
    if (
        identity
        and isinstance(home, str)
        and re.fullmatch(r"\w[\w.-]*", home)
        and not identity.cluster
        and local_cluster() not in ("", home)
    ):
        return replace(identity, cluster=home)
    return identity


def this_job(environment: Mapping[str, str]) -> JobId:
    """Return the job that this process runs in.

    A job that was submitted from a task of an array inherits the variables of that task, so Slurm
    is asked whether it is one itself.

    Args:
        environment: with ``SLURM_JOB_ID``.
    """
    raw = JobId(environment["SLURM_JOB_ID"])
    named = JobId.from_environment(environment)
    facts = job_facts(raw) if named.task else {}
    return raw if facts and "ArrayJobId" not in facts else named


def query_jobs(jobs: Iterable[JobId]) -> dict[JobId, JobInfo]:
    """Return the states of several jobs, with as few queries as possible.

    ``squeue`` comes first, then ``sacct`` for the jobs that it did not list, then ``scontrol`` for
    each job that is still missing: only scontrol reports explicitly that a job does not exist.

    Args:
        jobs: the jobs.

    Returns:
        The jobs that Slurm reported. The state of a missing one is unknown: Slurm did not respond.
    """
    requested = sorted(set(jobs), key=str)
    known: dict[JobId, JobInfo] = {}
    for cluster in sorted({job.cluster for job in requested}):
        of_cluster = [job for job in requested if job.cluster == cluster]
        for query in (_squeue, _sacct):
            if missing := [job for job in of_cluster if job not in known]:
                known |= query(cluster, missing)
        deadline = time.monotonic() + _TIMEOUT_S
        for job in [job for job in of_cluster if job not in known][:_MOST_SCONTROL_QUERIES]:
            if time.monotonic() < deadline and (info := _scontrol(job)) is not None:
                known[job] = info
    return known


def cancel(jobs: Iterable[JobId]) -> dict[JobId, JobInfo]:
    """Cancel jobs, and look whether Slurm ends them; jobs that have already ended are ignored.

    Slurm's scancel also succeeds where it does nothing, for example for an id that it reads
    differently.

    Returns:
        The jobs that Slurm still does not end after some seconds, with what it says about them. A
        job about which Slurm does not respond is not among them.

    Raises:
        ClusterError: Slurm refuses, or does not respond.
    """
    names = {job: _array_task(job) for job in jobs}
    for cluster in sorted({job.cluster for job in names.values()}):
        result = _run("scancel", *(str(job) for job in names.values() if job.cluster == cluster), cluster=cluster)
        if result is None:
            raise ClusterError.at("scancel", "Slurm does not respond", remedy="try again in a minute")
        if result.returncode and "Invalid job id" not in result.stderr and "already" not in result.stderr:
            raise ClusterError.at("scancel", _last_line(result.stderr), remedy="see `squeue --me`")
    deadline = time.monotonic() + _CANCEL_S
    while True:
        infos = query_jobs(names.values())
        alive = {job: infos[name] for job, name in names.items() if name in infos and not infos[name].ending}
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(_POLL_S)


def send_signal(job: JobId, name: str) -> None:
    """Send a signal to the ranks of a job, not to its batch script.

    Raises:
        ClusterError: Slurm refuses, or does not respond.
    """
    result = _run("scancel", f"--signal={name}", str(_array_task(job)), cluster=job.cluster)
    if result is None or result.returncode:
        raise ClusterError.at("scancel", _last_line(result.stderr) if result else "Slurm does not respond")


def job_facts(job: JobId) -> dict[str, str]:
    """Return the controller's facts about a job (``StartTime``, …); empty if it is silent."""
    result = _run("scontrol", "--oneliner", "show", "job", str(job), cluster=job.cluster)
    return _facts_of(job, result.stdout) if result and not result.returncode else {}


def partition_facts() -> list[dict[str, str]]:
    """Return the controller's facts about each partition; empty if it does not respond."""
    result = _run("scontrol", "--oneliner", "show", "partition")
    return [key_values(line) for line in result.stdout.splitlines()] if result and not result.returncode else []


def configuration() -> dict[str, str]:
    """Return Slurm's settings (``KillWait``, …); empty if the controller does not respond."""
    result = _run("scontrol", "show", "config")
    lines = result.stdout.splitlines() if result and not result.returncode else []
    return {key.strip(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals}


@functools.cache
def local_cluster() -> str:
    """Return the name of the cluster that Slurm's commands ask by default; "" if it is unknown."""
    return configuration().get("ClusterName", "")


def partitions() -> list[str]:
    """Return the names of the partitions; empty if Slurm does not respond."""
    result = _run("sinfo", "--noheader", "--format=%R")
    return sorted(set(result.stdout.split())) if result and not result.returncode else []


def answer(program: str, *arguments: str) -> str | None:
    """Return what a command of Slurm prints; ``None`` if it fails or does not respond."""
    result = _run(program, *arguments)
    return result.stdout if result and not result.returncode else None


def expected_start(job: JobId) -> datetime.datetime | None:
    """Return when Slurm expects to start a job, in the cluster's time zone; it may not know."""
    result = _run("squeue", "--start", "--noheader", "--format=%S", f"--jobs={job}", cluster=job.cluster)
    with suppress(ValueError):
        return datetime.datetime.fromisoformat(result.stdout.strip()) if result else None
    return None


def _squeue(cluster: str, jobs: list[JobId]) -> dict[JobId, JobInfo]:
    options = ("--noheader", "--states=all", "--array", "--format=%i|%T|%r")
    result = _run("squeue", *options, f"--jobs={','.join(map(str, jobs))}", cluster=cluster)
    return _table(result.stdout, jobs) if result and not result.returncode else {}


def _sacct(cluster: str, jobs: list[JobId]) -> dict[JobId, JobInfo]:
    options = ("--allocations", "--noheader", "--parsable2", "--format=JobID,JobIDRaw,State,Reason")
    result = _run("sacct", *options, f"--jobs={','.join(map(str, jobs))}", cluster=cluster)
    return _table(result.stdout, jobs) if result and not result.returncode else {}


def _scontrol(job: JobId) -> JobInfo | None:
    result = _run("scontrol", "--oneliner", "show", "job", str(job), cluster=job.cluster)
    if result is None:
        return None
    if result.returncode:
        return JobInfo(FORGOTTEN) if "Invalid job id" in result.stderr else None
    fields = _facts_of(job, result.stdout)
    if "JobState" not in fields:
        return None
    # It writes the blanks of a reason as underscores: launch_failed_requeued_held.
    return JobInfo(_state(fields["JobState"]), _reason(fields.get("Reason", "")).replace("_", " "))


def _array_task(job: JobId) -> JobId:
    """The same job under its only safe name, if it is a task of an array.

    Run folders of older versions name a task by its ``SLURM_JOB_ID``.
    """
    facts = {} if job.task else job_facts(job)
    if facts.get("ArrayTaskId", "").isdigit():
        return JobId(facts["ArrayJobId"], facts["ArrayTaskId"], job.cluster)
    return job


def _facts_of(job: JobId, lines: str) -> dict[str, str]:
    """The fields of a job in scontrol's answer, which has a line for every task of an array."""
    for fields in map(key_values, lines.splitlines()):
        if job.task:
            found = fields.get("ArrayJobId") == job.number and _includes(fields.get("ArrayTaskId", ""), int(job.task))
        else:
            found = fields.get("JobId") == job.number
        if found:
            return fields
    return {}


def _includes(tasks: str, task: int) -> bool:
    """Whether a task is in Slurm's notation of several: ``3``, ``0-4,7``, ``0-8:2``, ``0-9%2``."""
    for part in tasks.partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            if task in range(first, last + 1, step):
                return True
    return False


def key_values(line: str) -> dict[str, str]:
    """Return the fields of a line of ``scontrol --oneliner``: ``Key=Value Key=Value …``."""
    fields: dict[str, str] = {}
    for key, equals, value in (field.partition("=") for field in line.split()):
        if equals:
            fields.setdefault(key, value)  # the first: paths and the user's comment, with blanks, come later
    return fields


def _table(text: str, jobs: Sequence[JobId]) -> dict[JobId, JobInfo]:
    """Read lines ``ID|…|STATE|REASON`` with one or more names of the job."""
    by_name = {str(job): job for job in jobs}
    rows = [line.strip().split("|") for line in text.splitlines()]
    return {
        by_name[name]: JobInfo(_state(row[-2]), _reason(row[-1]))
        for row in rows
        if len(row) >= 3 and row[-2].strip()
        for name in row[:-2]
        if name in by_name
    }


def _state(text: str) -> str:
    return text.split()[0].rstrip("+")  # more may follow: "CANCELLED by 1000", "RUNNING+"


def _reason(text: str) -> str:
    text = text.strip().strip("()")
    return "" if text in ("None", "") else text


def _run(program: str, *arguments: str, cluster: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm; ``None`` if it does not exist or does not respond in time.

    Args:
        program: the command.
        arguments: its arguments.
        cluster: the cluster to ask; ``""`` for that of this machine, ``None`` for the user's
            choice.
    """
    if shutil.which(program) is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_CLIENT_SETTINGS)}
    if cluster is not None:
        environment.pop("SLURM_CLUSTERS", None)
    try:
        return subprocess.run(
            [program, *(["-M", cluster] if cluster else []), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
