"""The points of a sweep, best first; free of torch."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc_dl.errors import ConfigError
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.intervals import student_t, with_interval
from hpc_dl.sweeps.config import DEFAULT_OBJECTIVE
from hpc_dl.sweeps.folder import SweepFolder


@dataclass(frozen=True)
class RankedPoint:
    """A point of which at least one member has finished.

    Attributes:
        point: its settings by dotted keys.
        values: the objective of each finished member.
        runs: the names of these members' runs, in the same order.
    """

    point: dict[str, Any]
    values: list[float]
    runs: list[str]

    @property
    def mean(self) -> float:
        """The mean of the objective over the finished members."""
        return statistics.fmean(self.values)


def ranked(sweep: SweepFolder, objective: str, facts: Sequence[Mapping[str, Any]]) -> list[RankedPoint]:
    """Return the points with a finished member, best first.

    Members of earlier calls with other settings are left out: they would not compare.

    Args:
        sweep: the sweep.
        objective: the metric.
        facts: the status of each member that has been created.
    """
    metrics = {row["run"]: row.get("metrics", {}) for row in facts}
    points: dict[str, RankedPoint] = {}
    for run, member in sweep.members().items():
        value = None if member.get("former") else metrics.get(run, {}).get(objective)
        if isinstance(value, int | float) and not math.isnan(value):
            key = json.dumps(member["point"], sort_keys=True)
            entry = points.setdefault(key, RankedPoint(member["point"], [], []))
            entry.values.append(float(value))
            entry.runs.append(run)
    sign = -1 if known_direction(objective) == "max" else 1
    return sorted(points.values(), key=lambda entry: sign * entry.mean)


def objective_of(sweep: SweepFolder) -> str:
    """Return the metric that ranks the points of a sweep.

    Raises:
        ConfigError: the sweep's file is damaged.
    """
    section = sweep.section()
    objective = section.get("objective", DEFAULT_OBJECTIVE) if isinstance(section, Mapping) else None
    if not isinstance(objective, str):
        raise ConfigError.at(sweep.config, "has no valid `sweep` section", remedy="start the sweep again")
    return objective


def value_of(point: RankedPoint) -> str:
    """The objective of a point, with the interval over its seeds where there are several."""
    text = with_interval(*student_t(point.values))
    return text if len(point.values) == 1 else f"{text} ({len(point.values)} seeds)"


def comparison(first: RankedPoint, second: RankedPoint) -> str:
    """Return whether the first point is better than the second by more than chance explains."""
    (one, half_one), (other, half_other) = student_t(first.values), student_t(second.values)
    if math.isnan(half_one) or math.isnan(half_other):
        return "With a single seed for a point, chance may decide between the first two: use sweep.repeats."
    if abs(one - other) > half_one + half_other:
        return "The intervals of the first two (95%, Student's t) do not overlap."
    return "The intervals of the first two (95%, Student's t) overlap: the difference may be chance."
