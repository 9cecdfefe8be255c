"""The space of the last hidden layer after some epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_dl.figures.frame_panels import in_panels, one_by_one
from hpc_dl.figures.frames import Frames
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.kinds.hidden_space import Projection, draw_hidden_plane

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


class HiddenSpaceByEpoch(FigureKind):
    """Six of the recorded spaces, in the coordinates of the last one; as a GIF all of them."""

    needs_model = False
    animated = True

    def unfit(self, subject: Subject) -> str:
        """Whether the training has recorded hidden units."""
        return subject.no_frames("hidden")

    def draw(self, subject: Subject) -> Figure:
        """Draw two rows of three."""
        frames = subject.frames["hidden"]
        return in_panels(frames, _title(frames), _drawer(frames))

    def animation(self, subject: Subject) -> Iterator[Figure]:
        """Draw one panel for each frame."""
        frames = subject.frames["hidden"]
        return one_by_one(frames, _title(frames), _drawer(frames))


def _title(frames: Frames) -> str:
    return f"Last hidden layer ({np.shape(frames.values[0])[1]} units) after some epochs"


def _drawer(frames: Frames) -> Callable[[Axes, int], None]:
    """Return what draws one of the frames: all in the same coordinates, with the same limits."""
    count = len(frames.points)
    units = [np.asarray(value, np.float32) for value in frames.values]
    projection = Projection(units[-1][:count])
    projected = np.stack([projection(value) for value in units])
    # The samples decide the limits: the corners of the grid, where there are none, may be far away.
    low, high = projected[:, :count].min((0, 1)), projected[:, :count].max((0, 1))
    margin = 0.15 * np.maximum(high - low, 1e-6)
    side = round((projected.shape[1] - count) ** 0.5)

    def draw_frame(ax: Axes, number: int) -> None:
        samples, grid = np.split(projected[number], [count])
        draw_hidden_plane(ax, samples, grid.reshape(side, side, 2), frames.targets, frames.class_names)
        ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        ax.set_title(f"epoch {frames.epochs[number]}", fontsize=9)

    return draw_frame
