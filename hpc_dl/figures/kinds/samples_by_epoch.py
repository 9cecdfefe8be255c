"""What a generator makes from the same random numbers after some epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_dl.figures.frames import Frames
from hpc_dl.figures.inputs import show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.style import COLORS, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_PANELS = 6
_POINTS_TITLE = "Real samples (blue dots) and generated ones (orange crosses)"


class SamplesByEpoch(FigureKind):
    """Points next to real ones, or a row of pictures for each epoch; as a GIF all frames."""

    needs_model = False
    animated = True

    def unfit(self, subject: Subject) -> str:
        """Whether the training has recorded samples."""
        return subject.no_frames("samples")

    def draw(self, subject: Subject) -> Figure:
        """Draw six of the frames."""
        frames = subject.frames["samples"]
        chosen = [int(number) for number in evenly_spread(len(frames.epochs), _PANELS)]
        if len(frames.points):
            figure, axes = panels(_POINTS_TITLE, 2, 3, height=4.4, images=True)
            for ax, number in zip(axes, chosen, strict=False):
                _draw_points(ax, frames, number)
            return figure
        columns = min(8, len(frames.values[0]))
        figure, axes = panels(
            "Generated samples after some epochs", len(chosen), columns, height=0.85 * len(chosen) + 0.5, images=True
        )
        for row, number in enumerate(chosen):
            values = np.asarray(frames.values[number], np.float32)
            for ax, sample in zip(axes[row * columns : (row + 1) * columns], values, strict=False):
                show_sample(ax, sample, _limits(frames))
            axes[row * columns].set_title(f"epoch {frames.epochs[number]}", fontsize=9, loc="left")
        return figure

    def animation(self, subject: Subject) -> Iterator[Figure]:
        """Draw one frame after the other."""
        frames = subject.frames["samples"]
        for number, epoch in enumerate(frames.epochs):
            if len(frames.points):
                figure, (ax,) = panels(_POINTS_TITLE, height=5.0, images=True)
                _draw_points(ax, frames, number)
            else:
                values = np.asarray(frames.values[number], np.float32)
                columns = math.ceil(math.sqrt(len(values)))
                figure, axes = panels(
                    f"epoch {epoch}", math.ceil(len(values) / columns), columns, height=5.0, images=True
                )
                for ax, sample in zip(axes, values, strict=False):
                    show_sample(ax, sample, _limits(frames))
            yield figure


def _draw_points(ax: Axes, frames: Frames, number: int) -> None:
    points = np.asarray(frames.values[number], np.float32)
    ax.plot(*frames.points.T, linestyle="none", marker="o", markersize=2, color=COLORS[0])
    ax.plot(*points.T, linestyle="none", marker="x", markersize=3, color=COLORS[1], alpha=0.6)
    low, high = frames.points.min(0), frames.points.max(0)
    margin = 0.2 * (high - low)
    ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    ax.set_aspect("equal", "datalim")
    ax.set_title(f"epoch {frames.epochs[number]}", fontsize=9)


def _limits(frames: Frames) -> tuple[float, float]:
    last = np.asarray(frames.values[-1], np.float32)
    return float(last.min()), float(last.max())
