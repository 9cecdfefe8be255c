"""The signal lead: how long before a job's time limit Slurm should send the warning signal.

It follows from what a training measured and wrote to ``RUN/timings.json``, in seconds: its longest
step, its slowest checkpoint, and the time from a signal to its end. A submission uses the
measurements of the run itself or of the newest run of the same name. Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc_dl.cluster import slurm
from hpc_dl.runs.folder import NAME_CODE, NAME_CODE_LENGTH, RunFolder
from hpc_dl.runs.run_files import read_timings
from hpc_dl.runs.search import newest_with

#: Seconds for the current step, the checkpoint and the requeue, if nothing was measured.
DEFAULT_LEAD_S = 120
#: Slurm may send the signal up to a minute early or slightly late, and needs time to deliver it.
MINIMUM_LEAD_S = 60

_REHEARSAL = "-rehearsal"
_CODE = rf"-[{NAME_CODE}]{{{NAME_CODE_LENGTH},}}"
_LONGEST_NAME = 80


def rehearsal_name(experiment_name: str) -> str:
    """The name of an experiment's rehearsal, whose measurements count for the experiment."""
    return experiment_name[: _LONGEST_NAME - len(_REHEARSAL)] + _REHEARSAL


def timings_of(run: RunFolder) -> dict[str, Any]:
    """Return what a run has measured; empty if it measured nothing or the file is unreadable."""
    timings = read_timings(run)
    return timings if "lead_s" in timings else {}


def required_lead_s(runs: Path, experiment_name: str, run: RunFolder | None = None) -> int:
    """Return the seconds that a training needs between the signal and the time limit, with margin.

    Args:
        runs: folder of all runs.
        experiment_name: name of the experiment to be submitted.
        run: the run to be submitted; its own measurements take precedence over those of the newest
            run of that name.
    """
    timings = (timings_of(run) if run else {}) or _newest_timings(runs, experiment_name)
    return _lead_from(timings) if timings else DEFAULT_LEAD_S


def granted_lead_s(minutes: int, required_s: int = DEFAULT_LEAD_S) -> int:
    """Return the lead to request from Slurm, at most half of the time limit.

    With a longer lead a short job would stop as soon as it starts.

    Args:
        minutes: the time limit.
        required_s: what the training needs, in seconds.
    """
    return min(required_s, 30 * minutes)


def time_limit_warning(minutes: int, required_s: int) -> str:
    """Return a warning if half of the time limit is less than the required lead, else "".

    Args:
        minutes: the time limit.
        required_s: what the training needs, in seconds.
    """
    if (granted_s := granted_lead_s(minutes, required_s)) == required_s:
        return ""
    return (
        f"Of the {minutes} min of resources.time only {granted_s} s are reserved for the last checkpoint, but it may "
        f"need {required_s} s. Request at least {math.ceil(required_s / 30)} min."
    )


def grace_warnings(timings: Mapping[str, Any], partition: str | None) -> list[str]:
    """Return a warning for each setting of Slurm that allows less time than a stop takes.

    Args:
        timings: as measured by a run.
        partition: of the site profile; ``None`` for the cluster's default. May be several,
            separated by commas.

    Returns:
        One warning per setting; none if Slurm does not respond.
    """
    needed_s = math.ceil(_longest_stop_s(timings))
    warnings = []
    kill_wait_s = _leading_number(slurm.configuration().get("KillWait", ""))
    if kill_wait_s is not None and kill_wait_s < needed_s:
        warnings.append(
            f"This cluster kills jobs {kill_wait_s} s after SIGTERM (KillWait), but a stop with a checkpoint takes up "
            f"to {needed_s} s: after scancel, or a preemption without grace time, the run resumes from the checkpoint "
            "before it. Ask the administrators for a longer KillWait, or save more often (checkpoint.every)."
        )
    requested = set(partition.split(",")) if partition else set()
    for facts in slurm.partition_facts():
        name = facts.get("PartitionName", "")
        if name not in requested and (requested or facts.get("Default") != "YES"):
            continue
        grace_s = _leading_number(facts.get("GraceTime", ""))
        # Without a grace time, KillWait applies to preempted jobs too.
        if grace_s and grace_s < needed_s and facts.get("PreemptMode") != "OFF":
            warnings.append(
                f"A preempted job of partition {name} has {grace_s} s (GraceTime), but a stop with a checkpoint takes "
                f"up to {needed_s} s: the run then resumes from the checkpoint before it. Ask the administrators for a "
                "longer GraceTime, or save more often (checkpoint.every)."
            )
    return warnings


def _newest_timings(runs: Path, experiment_name: str) -> dict[str, Any]:
    names = "|".join(re.escape(name) for name in (experiment_name, rehearsal_name(experiment_name)))
    run_name = re.compile(f"(?:{names}){_CODE}")
    newest_first = newest_with("timings.json", run_name, [runs])
    return next((timings for run in newest_first if (timings := timings_of(run))), {})


def _lead_from(timings: Mapping[str, float]) -> int:
    return math.ceil(max(float(MINIMUM_LEAD_S), timings["lead_s"], 2 * timings.get("stop_s", 0)))


def _longest_stop_s(timings: Mapping[str, Any]) -> float:
    """The longest duration of a stop: a step that has just started, then a checkpoint."""
    return float(max(timings.get("boundary_s", 0) + timings.get("checkpoint_s", 0), timings.get("stop_s", 0)))


def _leading_number(text: str) -> int | None:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else None
