"""Loss and metrics of training and validation by epoch; seeds as a band, restarts marked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hpc_dl.errors import HpcDlError
from hpc_dl.formatting import text_of
from hpc_dl.learning.metric_names import split_and_metric
from hpc_dl.report.blocks import Block, Plot, Section, Table, Text
from hpc_dl.report.material import Group, Material
from hpc_dl.runs import attempts
from hpc_dl.tracking.curves import EpochsDone, curves_of

_BEST, _WORST = 5, 3  # groups with a curve
_MOST_POINTS = 240  # of a curve
_MOST_METRICS = 3  # besides the loss
_MOST_ROWS = 25  # of the table of a plot
_WIDE_RANGE = 50  # from the smallest to the largest value, from which on an axis is logarithmic
_MOST_MARKS = 20

Series = dict[str, Any]


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    groups = material.groups[:_BEST] + material.groups[max(_BEST, len(material.groups) - _WORST) :]
    curves = {group.label: [_curves_by_epoch(material, name) for name in group.runs] for group in groups}
    metrics = _metrics(material, curves)
    restarts = _restarts(material)
    marks = [[epoch, f"start {number}"] for name, number, epoch, *_ in restarts if _is_shown(name, groups)][
        :_MOST_MARKS
    ]
    blocks: list[Block] = []
    if len(groups) < len(material.groups):
        blocks.append(Text(f"Shown are the best {_BEST} and the last {_WORST} of {len(material.groups)} settings."))
    blocks += [plot for metric in metrics if (plot := _plot(metric, groups, curves, marks)) is not None]
    if blocks and restarts:
        rows = [[name, number, step, reason] for name, number, _, step, reason in restarts]
        columns = ("run", "start", "from step", "why the one before it ended")
        blocks.append(Table(columns, rows, "Restarts: requeues and resumed runs", folded=len(rows) > _MOST_ROWS))
    return Section("curves", "Curves", blocks)


def _curves_by_epoch(material: Material, name: str) -> dict[str, list[tuple[float, float, int]]]:
    """For each metric of a run: epoch, value, step; in steps where no epochs were logged."""
    rows = material.journal(name)
    epochs = EpochsDone(rows)
    has_epochs = any(row.get("epoch") is not None for row in rows)
    return {
        metric: [
            (round(float(epoch), 4), float(value), int(step))
            for epoch, value, step in zip(epochs(steps) if has_epochs else steps, values, steps, strict=True)
        ]
        for metric, (steps, values) in curves_of(rows).items()
    }


def _metrics(material: Material, curves: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The metrics to plot, without their split: the loss, then the objective, then others."""
    known = {split_and_metric(name)[1] for runs in curves.values() for run in runs for name in run}
    objective = split_and_metric(material.objective)[1]
    others = sorted(known - {"loss"}, key=lambda name: (name != objective, name))
    return [*(["loss"] if "loss" in known else []), *others[:_MOST_METRICS]]


def _plot(
    metric: str, groups: Sequence[Group], curves: dict[str, list[dict[str, Any]]], marks: list[Any]
) -> Plot | None:
    series: list[Series] = []
    for number, group in enumerate(groups):
        names = dict.fromkeys(
            name for run in curves[group.label] for name in run if split_and_metric(name)[1] == metric
        )
        for name in names:
            split = split_and_metric(name)[0]
            runs = [run[name] for run in curves[group.label] if name in run]
            label = name if len(groups) == 1 else f"{group.label}, {split or name}"
            color = number if len(groups) > 1 else {"train": 0, "val": 1}.get(split or "", 2)
            series.append(
                {"name": label, "group": group.label, "color": color, "dashed": split == "train" and len(groups) > 1}
                | _line(runs)
            )
    series = [one for one in series if len(one["points"]) > 1]
    if not series:
        return None
    values = [point[1] for one in series for point in one["points"]]
    log = min(values) > 0 and max(values) > _WIDE_RANGE * min(values)
    seeds = "; the band reaches from the lowest to the highest seed" if any(one["band"] for one in series) else ""
    description = f"{metric} by epoch: {len(series)} line{'s' * (len(series) != 1)}{seeds}."
    data = {"x": "epoch", "y": metric, "log": log, "series": series, "marks": marks}
    return Plot("lines", metric, description, data, _table(series))


def _line(runs: Sequence[list[tuple[float, float, int]]]) -> Series:
    """The curve of a run; of several seeds their mean where all of them logged, with a band."""
    if len(runs) == 1:
        return {"points": _thinned(runs[0]), "band": []}
    by_step = [{step: (epoch, value) for epoch, value, step in run} for run in runs]
    common = sorted(set.intersection(*[set(run) for run in by_step]))
    points, band = [], []
    for step in common:
        epoch, values = by_step[0][step][0], [run[step][1] for run in by_step]
        points.append((epoch, statistics.fmean(values), step))
        band.append((epoch, min(values), max(values)))
    return {"points": _thinned(points), "band": _thinned(band)}


def _thinned(points: list[Any]) -> list[Any]:
    """At most :data:`_MOST_POINTS` points, with the highest and the lowest of each stretch."""
    if len(points) <= _MOST_POINTS:
        return points
    kept: set[int] = {0, len(points) - 1}
    for stretch in np.array_split(np.arange(len(points)), _MOST_POINTS // 2 - 1):
        values = [points[number][1] for number in stretch]
        kept |= {int(stretch[int(np.argmin(values))]), int(stretch[int(np.argmax(values))])}
    return [points[number] for number in sorted(kept)]


def _table(series: Sequence[Series]) -> Table:
    """The values at evenly spread epochs, one column for each line."""
    epochs = sorted({point[0] for one in series for point in one["points"] if not one["dashed"]})
    chosen = [
        epochs[i]
        for i in sorted(set(np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_ROWS)).astype(int).tolist()))
    ]
    values = [{point[0]: point[1] for point in one["points"]} for one in series]
    rows = [[text_of(float(epoch)), *[of_line.get(epoch) for of_line in values]] for epoch in chosen]
    return Table(("epoch", *[one["name"] for one in series]), rows, folded=True)


def _restarts(material: Material) -> list[tuple[str, int, float, int, str]]:
    """Run, number of the start, epoch, step, and why the attempt before ended."""
    found = []
    for name, run in material.runs.items():
        events: list[dict[str, Any]] = []
        with suppress(HpcDlError, OSError):
            events = attempts.history(run)
        starts = [event for event in events if event["event"] == "started" and type(event.get("from_step")) is int]
        if len(starts) < 2:
            continue
        epochs = EpochsDone(material.journal(name))
        for number, start in enumerate(starts[1:], start=2):
            ends = [e for e in events[: events.index(start)] if e["event"] in ("started", "ended")]
            before = ends[-1] if ends else {}
            reason = (
                str(before.get("cause") or before.get("state") or "killed")
                if before.get("event") == "ended"
                else "killed"
            )
            step = int(start["from_step"])
            found.append((name, number, float(epochs(np.array([step]))[0]), step, reason))
    return found


def _is_shown(name: str, groups: Sequence[Group]) -> bool:
    return any(name in group.runs for group in groups)
