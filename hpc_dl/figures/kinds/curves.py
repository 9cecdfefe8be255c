"""Loss and metrics of training and validation by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, LINES, TRAIN, VAL, label, panels
from hpc_dl.learning.metric_names import split_and_metric, without_forks

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_NOT_METRICS = {"step", "epoch", "time", "train/gradient_norm", "train/lr", "train/samples_per_s"}
_MOST_METRICS = 6
_WIDE_RANGE = 50  # from the smallest to the largest value, from which on an axis is logarithmic


class Curves(FigureKind):
    """The journal's losses in one panel, and its other metrics in a second one."""

    needs_model = False
    at_end = 1

    def unfit(self, subject: Subject) -> str:
        """Whether two steps were logged."""
        return "" if len(subject.journal) > 1 else "needs at least two rows in the journal"

    def draw(self, subject: Subject) -> Figure:
        """Draw both panels, or one if only losses were logged."""
        curves = curves_of(subject.journal)
        losses = {name: points for name, points in curves.items() if split_and_metric(name)[1] == "loss"}
        metrics = dict(
            [item for item in curves.items() if item[0] not in losses and _is_share(item[1])][:_MOST_METRICS]
        )
        if not metrics:
            metrics = dict([item for item in curves.items() if item[0] not in losses][:1])
        groups = [("loss", losses), ("metric" if len(metrics) != 1 else label(next(iter(metrics)), 30), metrics)]
        groups = [group for group in groups if group[1]]
        figure, axes = panels(subject.run.name, 1, len(groups), sharex=True)
        epochs = EpochsDone(subject.journal)
        best = subject.best_step
        for ax, (title, group) in zip(axes, groups, strict=True):
            for number, (name, (steps, values)) in enumerate(group.items()):
                _draw_curve(ax, name, epochs(steps), values, number)
            if best is not None and len(subject.journal) > 2:
                ax.axvline(
                    float(epochs(np.array([best]))[0]), color="#7F7F7F", linewidth=1, linestyle=":", label="best"
                )
            ax.set(xlabel="epoch", ylabel=title)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if title == "loss" and _is_wide(group):
                ax.set_yscale("log")
            ax.legend()
        return figure


def curves_of(rows: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The steps and the finite values of each metric, training first, without the test."""
    names = without_forks({name for row in rows for name in row} - _NOT_METRICS)
    curves = {}
    for name in sorted(names, key=lambda name: (split_and_metric(name)[0] != "train", name)):
        if split_and_metric(name)[0] == "test":
            continue
        points = [(row["step"], float(row[name])) for row in rows if _is_finite(row.get(name))]
        if points:
            steps, values = zip(*points, strict=True)
            curves[name] = (np.array(steps), np.array(values))
    return curves


class EpochsDone:
    """Converts steps to epochs, where the journal has a row at the end of each epoch."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        ends: dict[int, int] = {}
        for row in rows:
            if row.get("epoch") is not None:
                ends[int(row["epoch"])] = row["step"]
        self._steps = [0, *ends.values()]
        self._epochs = [0, *[epoch + 1 for epoch in ends]]

    def __call__(self, steps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The number of epochs done after each of these steps, a fraction within an epoch."""
        return np.asarray(np.interp(steps, self._steps, self._epochs))


def _draw_curve(ax: Axes, name: str, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], number: int) -> None:
    split, metric = split_and_metric(name)
    color = {"train": TRAIN, "val": VAL}.get(split or "", COLORS[(number + 2) % len(COLORS)])
    if metric != "loss":
        color = COLORS[number % len(COLORS)]
    marker = "." if len(x) <= 30 else None
    ax.plot(x, y, color=color, linestyle=LINES[number % len(LINES)], marker=marker, label=label(name, 24))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_share(points: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> bool:
    return bool(np.abs(points[1]).max() <= 1.05)


def _is_wide(group: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> bool:
    values = np.concatenate([values for _, values in group.values()])
    return bool(values.min() > 0 and values.max() > _WIDE_RANGE * values.min())
