"""Loss and metrics of training and validation by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, LINES, TRAIN, VAL, label, panels
from hpc_dl.learning.metric_names import split_and_metric
from hpc_dl.tracking.curves import EpochsDone, curves_of

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

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


def _draw_curve(ax: Axes, name: str, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], number: int) -> None:
    split, metric = split_and_metric(name)
    color = {"train": TRAIN, "val": VAL}.get(split or "", COLORS[(number + 2) % len(COLORS)])
    if metric != "loss":
        color = COLORS[number % len(COLORS)]
    marker = "." if len(x) <= 30 else None
    ax.plot(x, y, color=color, linestyle=LINES[number % len(LINES)], marker=marker, label=label(name, 24))


def _is_share(points: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> bool:
    return bool(np.abs(points[1]).max() <= 1.05)


def _is_wide(group: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> bool:
    values = np.concatenate([values for _, values in group.values()])
    return bool(values.min() > 0 and values.max() > _WIDE_RANGE * values.min())
