"""How long before a time limit Slurm should warn: as measured in the run itself, or in the last one
like it.

A training leaves its measurements in ``RUN/timings.json``, in seconds: the longest step, the
slowest checkpoint, and the time from a signal to its end. Imports no torch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc_dl.cluster import slurm
from hpc_dl.cluster.requeue import DEFAULT_LEAD_S, lead_seconds
from hpc_dl.runs.folder import RunFolder

#: Slurm may warn up to a minute early or a little late, and starts the step that the signal goes
#: to.
LEAST_S = 60

_REHEARSAL = "-rehearsal"
_STAMP = r"-(\d{8}-\d{6}-[0-9a-f]{4})"
_LONGEST_NAME = 80


def rehearsal_name(experiment_name: str) -> str:
    """The name of an experiment's rehearsal, whose measurements count for the experiment."""
    return experiment_name[: _LONGEST_NAME - len(_REHEARSAL)] + _REHEARSAL


def timings_of(run: RunFolder) -> dict[str, Any]:
    """What a run has measured; empty where it has not, or cannot be read."""
    try:
        timings = json.loads(run.timings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return timings if isinstance(timings, dict) and "lead_s" in timings else {}


def lead_s(runs: Path, experiment_name: str, run: RunFolder | None = None) -> int:
    """Seconds between Slurm's warning and the time limit that a training needs, with margin.

    Args:
        runs: folder of all runs.
        experiment_name: what is to be submitted.
        run: the run to be submitted; its own measurements count before those of the newest run of
            that name.
    """
    timings = (timings_of(run) if run else {}) or _newest(runs, experiment_name)
    return _wanted(timings) if timings else DEFAULT_LEAD_S


def shortage(minutes: int, lead_s: int) -> str:
    """A warning when half of the time limit, the most that is given away for the lead, is too
    little; else empty.

    Args:
        minutes: the time limit.
        lead_s: seconds wished for.
    """
    if (given := lead_seconds(minutes, lead_s)) == lead_s:
        return ""
    return (
        f"Of {minutes} min of resources.time only {given} s are kept for the last checkpoint, but it may need "
        f"{lead_s} s. Ask for at least {math.ceil(lead_s / 30)} min."
    )


def grace_warnings(timings: Mapping[str, Any], partition: str | None) -> list[str]:
    """What of Slurm's settings leaves less time than a stop takes, a sentence each; empty where
    Slurm does not answer.

    Args:
        timings: as a run measured them.
        partition: the site's; ``None`` for the cluster's default. Slurm takes several, separated by
            commas.
    """
    needed_s = math.ceil(_stop_s(timings))
    sentences = []
    kill_wait_s = _seconds(slurm.configuration().get("KillWait", ""))
    if kill_wait_s is not None and kill_wait_s < needed_s:
        sentences.append(
            f"Slurm kills {kill_wait_s} s after SIGTERM here (KillWait), but a stop with a checkpoint takes up to "
            f"{needed_s} s: after a scancel or a preemption without notice the run goes on from its checkpoint before. "
            "Ask the administrators for a longer KillWait, or save more often (checkpoint.every)."
        )
    named = set(partition.split(",")) if partition else set()
    for facts in slurm.partition_facts():
        name = facts.get("PartitionName", "")
        if name not in named and (named or facts.get("Default") != "YES"):
            continue
        grace_s = _seconds(facts.get("GraceTime", ""))
        # Without a grace time a preempted job has KillWait.
        if grace_s and grace_s < needed_s and facts.get("PreemptMode") != "OFF":
            sentences.append(
                f"A preempted job of partition {name} has {grace_s} s (GraceTime), but a stop with a checkpoint takes "
                f"up to {needed_s} s: it goes on from its checkpoint before. Ask the administrators for a longer "
                "GraceTime, or save more often (checkpoint.every)."
            )
    return sentences


def _newest(runs: Path, experiment_name: str) -> dict[str, Any]:
    names = "|".join(re.escape(name) for name in (experiment_name, rehearsal_name(experiment_name)))
    fitting = re.compile(f"(?:{names}){_STAMP}")
    found: dict[str, dict[str, Any]] = {}
    for path in runs.glob("*/timings.json"):
        if (match := fitting.fullmatch(path.parent.name)) and (timings := timings_of(RunFolder(path.parent))):
            found[match[1]] = timings
    return found[max(found)] if found else {}


def _wanted(timings: Mapping[str, float]) -> int:
    return math.ceil(max(float(LEAST_S), timings["lead_s"], 2 * timings.get("stop_s", 0)))


def _stop_s(timings: Mapping[str, Any]) -> float:
    """The longest that a stop may take: a step that has just begun, then a checkpoint."""
    return float(max(timings.get("boundary_s", 0) + timings.get("checkpoint_s", 0), timings.get("stop_s", 0)))


def _seconds(text: str) -> int | None:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else None
