"""What a run requested and used, what it cost, and what to request next time. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpc_dl.cluster.status import statuses
from hpc_dl.config.resources import Resources, parse_gib
from hpc_dl.errors import HpcDlError, RunError
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import goodput_of
from hpc_dl.runs.run_files import read_job
from hpc_dl.runs.settings import settings_of
from hpc_dl.runs.usage_samples import Sample, samples_of_ranks

MARGIN = 1.25
"""By which a proposal exceeds what was used."""
_BASE_GIB = 0.5  # added to the memory: what a process needs in other circumstances, such as more files
_LEAST_MINUTES = 5
_STARVED_SHARE = 0.1  # of the time spent waiting for data, with all CPU cores busy
_QUANTILE = 0.95


@dataclass(frozen=True)
class Use:
    """What a run used; ``None`` for what was not measured.

    Attributes:
        memory_gib: the most memory on a node.
        cpus: CPU cores of a rank, exceeded in 5 % of the time only.
        data: share of the time that the training waited for data.
        gpu: mean load of the GPUs, 0 to 1.
        gpu_gib: the most memory of a GPU.
        kwh: energy of the GPUs.
        minutes: allocated time of all attempts together.
        starts: the number of attempts.
    """

    memory_gib: float | None
    cpus: float | None
    data: float | None
    gpu: float | None
    gpu_gib: float | None
    kwh: float | None
    minutes: float | None
    starts: int


def use_of(run: RunFolder, requested: Resources) -> Use | None:
    """Return what a run used; ``None`` if it has recorded nothing.

    Args:
        run: the run.
        requested: what it requested.
    """
    ranks = samples_of_ranks(run.usage)
    samples = [sample for of_rank in ranks.values() for sample in of_rank]
    if not samples:
        return None
    goodput = goodput_of(run)
    # The memory of a job that trains several members of a sweep is not that of one.
    of_job = None if read_job(run).get("members") else _most(samples, "cgroup_gib")
    of_rank = _most(samples, "rss_gib")
    return Use(
        memory_gib=of_job if of_job is not None or of_rank is None else of_rank * requested.ranks_per_node,
        cpus=max((c for of_rank in ranks.values() if (c := _quantile(of_rank)) is not None), default=None),
        data=_mean(samples, "data"),
        gpu=_mean(samples, "gpu"),
        gpu_gib=_most(samples, "gpu_gib"),
        kwh=_energy(samples),
        minutes=goodput.allocated_s / 60 if goodput else None,
        starts=goodput.starts if goodput else len({e.get("attempt") for e in attempts.history(run)}),
    )


def proposal(requested: Resources, use: Use, *, has_finished: bool) -> dict[str, Any]:
    """Return what to request next time, by the keys of ``resources``; only what should change.

    Args:
        requested: what was requested.
        use: what was used.
        has_finished: whether the training came to its end, so that its duration is known.
    """
    changes: dict[str, Any] = {}
    if use.memory_gib is not None:
        memory = memory_to_request(use.memory_gib)
        if not 0.8 * requested.memory_gib <= parse_gib(memory) <= 1.1 * requested.memory_gib:
            changes["memory"] = memory
    if use.cpus is not None:
        starved = (use.data or 0.0) > _STARVED_SHARE and use.cpus > 0.8 * requested.cpus_per_gpu
        cpus = math.ceil(1.5 * requested.cpus_per_gpu) if starved else max(1, math.ceil(use.cpus - 0.1))
        if cpus != requested.cpus_per_gpu and (starved or cpus < requested.cpus_per_gpu):
            changes["cpus_per_gpu"] = cpus
    if has_finished and use.minutes is not None and use.starts == 1:
        minutes = max(_LEAST_MINUTES, 5 * math.ceil(MARGIN * use.minutes / 5))
        if not 0.8 * requested.minutes <= minutes <= 1.1 * requested.minutes:
            changes["time"] = f"{minutes // 60:02}:{minutes % 60:02}:00"
    return changes


def memory_to_request(used_gib: float) -> str:
    """Return the memory to request where this much was used, with a margin: ``4G``."""
    return f"{math.ceil(MARGIN * used_gib + _BASE_GIB)}G"


def cost(requested: Resources, use: Use) -> dict[str, float]:
    """Return the GPU hours and CPU hours of the allocated time, and the energy where measured."""
    hours = (use.minutes or 0.0) / 60
    gpu_hours = hours * requested.nodes * requested.gpus_per_node
    energy = {} if use.kwh is None else {"gpu_kwh": round(use.kwh, 4)}
    return {
        "gpu_hours": round(gpu_hours, 4),
        "cpu_hours": round(hours * requested.world_size * requested.cpus_per_gpu, 4),
        **energy,
    }


def efficiency_of_runs(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Return for each run what it requested, used and cost, and what to request next time.

    Args:
        runs: the runs.

    Returns:
        ``run``, ``dir``, ``state`` and, where a run has recorded its use, ``requested``, ``used``,
        ``cost`` and ``next``.
    """
    rows = []
    for run, facts in zip(runs, statuses(runs), strict=True):
        row = {key: facts[key] for key in ("run", "dir", "state")}
        with suppress(HpcDlError, OSError):
            requested = requested_by(run)
            if (use := use_of(run, requested)) is not None:
                row |= {
                    "requested": requested.model_dump(exclude={"max_requeues", "on_oom"}),
                    "used": {name: round(v, 3) for name, v in asdict(use).items() if v is not None},
                    "cost": cost(requested, use),
                    "next": proposal(requested, use, has_finished=facts["state"] == "finished"),
                }
        rows.append(row)
    return rows


def proposal_for_all(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one request that suffices for all runs, such as the members of a sweep."""
    known = [row for row in rows if "used" in row]
    if not known:
        return {}
    requested = [Resources(**row["requested"]) for row in known]
    uses = [Use(**dict.fromkeys(Use.__annotations__) | row["used"]) for row in known]
    largest: dict[str, Any] = {
        name: max((value for use in uses if (value := getattr(use, name)) is not None), default=None)
        for name in ("memory_gib", "cpus", "data", "minutes", "starts")
    }
    all_finished = all(row["state"] in ("finished", "pruned") for row in known)
    return proposal(requested[0], replace(uses[0], **largest), has_finished=all_finished)


def requested_by(run: RunFolder) -> Resources:
    """Return what a run requested.

    Raises:
        HpcDlError: its configuration cannot be read.
    """
    if not (settings := settings_of(run)):
        raise RunError.at(run.config, "is not a complete configuration")
    names = [name for name in Resources.model_fields if f"resources.{name}" in settings]
    return Resources(**{name: settings[f"resources.{name}"] for name in names})


def _most(samples: Sequence[Sample], name: str) -> float | None:
    return max((value for one in samples if (value := getattr(one, name)) is not None), default=None)


def _mean(samples: Sequence[Sample], name: str) -> float | None:
    known = [(getattr(one, name), one.seconds) for one in samples if getattr(one, name) is not None]
    total = sum(seconds for _, seconds in known)
    return sum(value * seconds for value, seconds in known) / total if total else None


def _energy(samples: Sequence[Sample]) -> float | None:
    joules = [one.watts * one.seconds for one in samples if one.watts is not None]
    return sum(joules) / 3.6e6 if joules else None


def _quantile(samples: Sequence[Sample]) -> float | None:
    """The CPU cores that a rank used at most in 95 % of the time."""
    known = sorted((one.cpus, one.seconds) for one in samples if one.cpus is not None)
    left = _QUANTILE * sum(seconds for _, seconds in known)
    for cpus, seconds in known:
        left -= seconds
        if left <= 0:
            return cpus
    return known[-1][0] if known else None
