"""What a report is made of: runs, their results and journals, each file read once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hpc_dl.cluster.efficiency import efficiency_of_runs
from hpc_dl.cluster.goodput import goodput_of_runs
from hpc_dl.cluster.overview import RunOverview, overview
from hpc_dl.errors import HpcDlError
from hpc_dl.learning.direction import direction_of_name
from hpc_dl.learning.metric_names import split_of, values_of_epochs
from hpc_dl.runs.conditions import is_number
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_result
from hpc_dl.runs.seeds import over_seeds, same_but_seed
from hpc_dl.runs.settings import differing, shown
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.points import described
from hpc_dl.sweeps.ranking import RankedPoint, objective_of, ranked
from hpc_dl.tracking.journal import read_journal

_USUAL_METRIC = "val/loss"
_MOST_KEYS = 4  # of the settings in a label
_DATA = ("data.file", "data.source")  # runs on other data do not compare


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
        label: the settings that distinguish it from the others.
        runs: their names.
        rank: its place and values; ``None`` as long as none of its runs has finished.
    """

    label: str
    runs: list[str]
    rank: RankedPoint | None = None


class Material:
    """The runs of one report.

    Attributes:
        title: of the report.
        sweep: the sweep that the runs are members of; ``None`` for other runs.
        runs: the folder of each run, by its name.
        known: what each of them is doing.
        settings: of each run by dotted keys, as tables show them.
        keys: the settings in which the runs differ.
        objective: the metric that ranks the runs; empty where there is none.
        groups: the runs by settings, best first.
    """

    def __init__(self, title: str, runs: Sequence[RunFolder], sweep: SweepFolder | None = None) -> None:
        """Read what is known of the runs.

        Args:
            title: of the report.
            runs: the runs; one that is named twice counts once.
            sweep: the sweep, if they are its members.
        """
        self.title, self.sweep = title, sweep
        unique = list(dict.fromkeys(runs))
        known = dict(zip(_names(unique), overview(unique), strict=True))
        self.runs = dict(zip(known, unique, strict=True))
        self.known: dict[str, RunOverview] = known
        self._complete = [one.settings for one in known.values()]
        self.settings = dict(zip(known, shown(self._complete), strict=True))
        self.keys = differing(list(self.settings.values()))
        self.objective = self._objective()
        self.groups = self._groups()

    @property
    def compares(self) -> bool:
        """Whether the runs have the same data, so that their metrics compare."""
        return not set(_DATA) & set(self.keys)

    @property
    def best(self) -> Group | None:
        """The first group, if one of its runs has finished and the runs compare."""
        return self.groups[0] if self.compares and self.groups and self.groups[0].rank else None

    @property
    def ranked(self) -> list[RankedPoint]:
        """The groups that have a value of the objective, best first."""
        return [group.rank for group in self.groups if group.rank is not None]

    def metrics(self, name: str) -> dict[str, Any]:
        """Return the final metrics of a run; empty before it has finished."""
        return values_of_epochs(self.known[name].facts.get("metrics", {}))

    def metric_names(self, split: str) -> list[str]:
        """Return the metrics of a split; those without one (``g_loss``) count as validation."""
        names = {metric for name in self.known for metric in self.metrics(name)}
        return sorted(name for name in names if (split_of(name) or "val") == split)

    def over_seeds(self, metrics: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row for each group of seeds; see :func:`hpc_dl.runs.seeds.over_seeds`."""
        rows = [self.settings[name] | self.metrics(name) | {"run": name} for name in self.known]
        return over_seeds(rows, list(self.settings.values()), metrics)

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def journal(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a run's journal; none if it is damaged."""
        with suppress(HpcDlError, OSError):
            return read_journal(self.runs[name].journal)
        return []

    @functools.cache  # noqa: B019
    def result(self, name: str) -> dict[str, Any]:
        """Return the result of a run; empty if it has none, or a damaged one."""
        with suppress(HpcDlError, OSError):
            return read_result(self.runs[name])
        return {}

    @functools.cached_property
    def efficiency(self) -> list[dict[str, Any]]:
        """What each run requested, used and cost, as ``hpc-dl efficiency --json``."""
        return efficiency_of_runs(list(self.runs.values()))

    @functools.cached_property
    def goodput(self) -> list[dict[str, Any]]:
        """Where the allocated time of each run went, as ``hpc-dl goodput --json``."""
        return goodput_of_runs(list(self.runs.values()))

    def best_run(self) -> str | None:
        """Return the run that answers for the best group: its best seed, or the only run."""
        if self.best is None or self.best.rank is None:
            return next(iter(self.runs)) if len(self.runs) == 1 else None
        choose = max if direction_of_name(self.objective) == "max" else min
        values = dict(zip(self.best.rank.runs, self.best.rank.values, strict=True))
        return choose(values, key=values.__getitem__)

    def _objective(self) -> str:
        if self.sweep is not None:
            with suppress(HpcDlError, OSError):
                return objective_of(self.sweep)
        names = self.metric_names("val") or self.metric_names("train")
        known = [name for name in names if direction_of_name(name)]
        return _USUAL_METRIC if _USUAL_METRIC in known else next(iter(known), "")

    def _points(self) -> list[RankedPoint]:
        if self.sweep is not None:
            with suppress(HpcDlError, OSError):
                return ranked(self.sweep, self.objective, [one.facts for one in self.known.values()])
        points = []
        for row in self.over_seeds([self.objective]):
            runs = [name for name in row["runs"] if is_number(self.metrics(name).get(self.objective))]
            if runs:
                values = [float(self.metrics(name)[self.objective]) for name in runs]
                points.append(RankedPoint(self._point(runs[0]), values, runs))
        sign = -1 if direction_of_name(self.objective) == "max" else 1
        return sorted(points, key=lambda point: sign * point.mean)

    def _point(self, name: str) -> dict[str, Any]:
        return {key: self.settings[name].get(key) for key in self.keys if key != "seed"}

    def _groups(self) -> list[Group]:
        """The ranked groups, then those without a value."""
        points = self._points() if self.objective and self.compares else []
        names = list(self.known)
        of_group = [[names[number] for number in group] for group in same_but_seed(self._complete)]
        groups: list[Group] = []
        for point in points:
            members = next((group for group in of_group if point.runs[0] in group), point.runs)
            groups.append(Group(_label(point.point, point.runs, len(of_group)), members, point))
        ranked_runs = {name for group in groups for name in group.runs}
        others = [group for group in of_group if not ranked_runs & set(group)]
        groups += [Group(_label(self._point(group[0]), group, len(of_group)), group) for group in others]
        labels = [group.label for group in groups]
        return [
            Group(f"{group.label} ({group.runs[0]})", group.runs, group.rank)
            if labels.count(group.label) > 1
            else group
            for group in groups
        ]


def _label(point: Mapping[str, Any], runs: Sequence[str], num_groups: int) -> str:
    if not point or num_groups == 1:
        return runs[0]
    further = f" and {len(point) - _MOST_KEYS} more" if len(point) > _MOST_KEYS else ""
    return described(dict(list(point.items())[:_MOST_KEYS])) + further


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """The names of the runs; two of the same name, in different folders, get their folder."""
    names = [run.name for run in runs]
    return [f"{run.path.parent.name}/{run.name}" if names.count(run.name) > 1 else run.name for run in runs]
