"""The goodput of runs, with the times that Slurm recorded. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from hpc_dl.cluster import slurm
from hpc_dl.cluster.accounting import allocations_of
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.status import statuses
from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import PARTS, goodput_of
from hpc_dl.runs.phase_times import read_phase_times
from hpc_dl.runs.run_files import read_job

#: How a report names the parts.
LABELS = {
    "training": "training",
    "start_up": "start-up",
    "restoring": "restoring",
    "checkpoints": "checkpoints",
    "repeated": "repeated steps",
    "data": "waiting for data",
    "validation": "validation",
    "end": "end and idle",
    "other": "other",
}
assert tuple(LABELS) == PARTS
_MOST_NAMED = 3  # parts in one line
_LEAST_NAMED = 0.005  # share of a part that is worth naming


def goodput_of_runs(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Return where the allocated time of runs went, with one query to Slurm about all of them.

    Args:
        runs: the runs.

    Returns:
        For each run ``run``, ``dir``, ``state`` and, where it has recorded its times, the figures
        of :class:`hpc_dl.runs.goodput.Goodput`.
    """
    allocations = allocations_of({job for run in runs for job in _jobs_of(run)})
    rows = []
    for run, facts in zip(runs, statuses(runs), strict=True):
        found = None
        with suppress(HpcDlError, OSError):
            found = goodput_of(run, allocations, is_running=facts["state"] == "running")
        row = {key: facts[key] for key in ("run", "dir", "state")}
        rows.append(row | (found.to_dict() if found else {}))
    return rows


def total_of(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of several runs together; empty if none has recorded its times."""
    known = [row for row in rows if "goodput" in row]
    if not known:
        return {}
    allocated_s = sum(row["allocated_s"] for row in known)
    parts = {part: sum(row["parts_s"][part] for row in known) for part in PARTS}
    return {
        "goodput": parts["training"] / allocated_s if allocated_s else 0.0,
        "allocated_s": allocated_s,
        "parts_s": parts,
        "queue_s": sum(row["queue_s"] for row in known),
        "starts": sum(row["starts"] for row in known),
    }


def largest_losses(row: dict[str, Any]) -> str:
    """Return where most of the other time went: ``start-up 4 %, validation 2 %``."""
    shares = {part: row["parts_s"][part] / row["allocated_s"] for part in PARTS[1:] if row["allocated_s"]}
    largest = sorted(shares, key=lambda part: -shares[part])[:_MOST_NAMED]
    return ", ".join(f"{LABELS[part]} {shares[part]:.1%}" for part in largest if shares[part] >= _LEAST_NAMED)


def _jobs_of(run: RunFolder) -> set[JobId]:
    """All jobs in which a run was trained, on the cluster of the newest."""
    with suppress(HpcDlError, OSError):
        if (newest := slurm.job_of(read_job(run))) is not None:
            names = {times.job for times in read_phase_times(run.usage)}
            jobs = {job for name in names if (job := JobId.of({"job_id": name, "cluster": newest.cluster}))}
            return {newest, *jobs}
    return set()
