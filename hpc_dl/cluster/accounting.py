"""What Slurm's accounting recorded of a job: its end, its memory, its nodes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.job_info import FORGOTTEN
from hpc_dl.runs.goodput import Allocation
from hpc_dl.runs.run_files import timestamp

_COLUMNS = ("JobID", "State", "ExitCode", "MaxRSS", "ReqMem", "NodeList", "Elapsed", "Timelimit")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[nc]?")  # n and c: for each node, for each core (before Slurm 21.08)
_GIB = {"": 2.0**-30, "K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10, "P": 2.0**20}


@dataclass(frozen=True)
class Accounting:
    """How a job ended, as far as Slurm says so; empty values are unknown.

    Attributes:
        state: Slurm's state of the job (``TIMEOUT``); that of a step if only this ran out of
            memory.
        exit_code: ``STATUS:SIGNAL``.
        used_gib: the largest resident memory of a task.
        requested_gib: memory requested on a node.
        nodes: the nodes, in Slurm's notation (``n[1-2]``).
        elapsed: how long it ran.
        limit: its time limit.
    """

    state: str = ""
    exit_code: str = ""
    used_gib: float | None = None
    requested_gib: float | None = None
    nodes: str = ""
    elapsed: str = ""
    limit: str = ""

    def __str__(self) -> str:
        """The facts in one line, ``State=TIMEOUT ExitCode=0:0 …``."""
        used = f"{self.used_gib:.2f}G" if self.used_gib is not None else ""
        requested = f"{self.requested_gib:.2f}G" if self.requested_gib is not None else ""
        facts = {
            "State": self.state, "ExitCode": self.exit_code, "MaxRSS": used, "ReqMem": requested,
            "NodeList": self.nodes, "Elapsed": self.elapsed, "Timelimit": self.limit,
        }  # fmt: skip
        return " ".join(f"{name}={value}" for name, value in facts.items() if value)


def accounting_of(job: JobId) -> Accounting:
    """Return what Slurm knows about a job that has ended; without ``sacct`` only its state.

    Args:
        job: the job.
    """
    found = read_sacct(sacct_rows(job), str(job))
    if found.state:
        return found
    info = slurm.query_jobs([job]).get(job)
    return Accounting(state=info.state) if info and info.state != FORGOTTEN else Accounting()


def allocations_of(jobs: Collection[JobId]) -> dict[str, list[Allocation]]:
    """Return when jobs had nodes, by the names of the jobs, oldest first; empty without ``sacct``.

    A job that was requeued has one allocation for each start.

    Args:
        jobs: the jobs.
    """
    named: dict[str, list[Allocation]] = {}
    for cluster in sorted({job.cluster for job in jobs}):
        names = ",".join(sorted({str(job) for job in jobs if job.cluster == cluster}))
        options = ("--noheader", "--parsable2", "--allocations", "--duplicates", "--format=JobID,Start,End")
        on_cluster = ("-M", cluster) if cluster else ()
        named |= read_allocations(slurm.answer("sacct", *on_cluster, *options, f"--jobs={names}") or "")
    return named


def read_allocations(text: str) -> dict[str, list[Allocation]]:
    """Read the rows ``JOB|START|END`` of ``sacct --parsable2``."""
    found: dict[str, list[Allocation]] = {}
    for line in text.splitlines():
        job, _, times = line.partition("|")
        start, _, end = times.partition("|")
        if (started := timestamp(start)) is not None:
            found.setdefault(job, []).append(Allocation(started, timestamp(end)))
    return {job: sorted(several, key=lambda one: one.start) for job, several in found.items()}


def sacct_rows(job: JobId) -> str:
    """Return what ``sacct`` prints about a job and its steps; empty without an answer."""
    cluster = ("-M", job.cluster) if job.cluster else ()
    options = ("--noheader", "--parsable2", f"--format={','.join(_COLUMNS)}", f"--jobs={job}")
    return slurm.answer("sacct", *cluster, *options) or ""


def read_sacct(text: str, job: str) -> Accounting:
    """Read the rows of ``sacct --parsable2`` about a job and its steps.

    Args:
        text: the rows, with the columns that :func:`sacct_rows` asks for.
        job: the job's name, ``12`` or ``12_3``.
    """
    rows = [dict(zip(_COLUMNS, line.split("|"), strict=False)) for line in text.splitlines() if "|" in line]
    rows = [row for row in rows if row["JobID"] == job or row["JobID"].startswith(f"{job}.")]
    main = next((row for row in rows if row["JobID"] == job), rows[0] if rows else {})
    states = [(row.get("State", "").split() or [""])[0].rstrip("+") for row in rows]
    state = (main.get("State", "").split() or [""])[0].rstrip("+")
    return Accounting(
        state="OUT_OF_MEMORY" if "OUT_OF_MEMORY" in states else state,
        exit_code=main.get("ExitCode", ""),
        used_gib=max((size for row in rows if (size := _gib(row.get("MaxRSS", ""))) is not None), default=None),
        requested_gib=_gib(main.get("ReqMem", "")),
        nodes=main.get("NodeList", "").replace("None assigned", ""),
        elapsed=main.get("Elapsed", ""),
        limit=main.get("Timelimit", ""),
    )


def _gib(text: str) -> float | None:
    match = _SIZE.fullmatch(text.strip())
    return float(match[1]) * _GIB[match[2]] if match and float(match[1]) else None
