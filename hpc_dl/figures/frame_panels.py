"""Recorded frames as a figure: some of them in panels, or one after the other for a GIF."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_dl.figures.frames import Frames
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.style import panels

_PANELS = 6


def in_panels(frames: Frames, title: str, draw_frame: Callable[[Axes, int], None]) -> Figure:
    """Draw six frames, from the first to the last, in two rows of three.

    Args:
        frames: the frames.
        title: of the figure.
        draw_frame: draws the frame with a number.
    """
    chosen = evenly_spread(len(frames.epochs), _PANELS)
    figure, axes = panels(title, 2, 3, height=4.4, images=True)
    for ax, number in zip(axes, chosen, strict=False):
        draw_frame(ax, int(number))
    for ax in axes[len(chosen) :]:
        ax.set_visible(False)
    return figure


def one_by_one(frames: Frames, title: str, draw_frame: Callable[[Axes, int], None]) -> Iterator[Figure]:
    """Draw a figure for each frame; the arguments as for :func:`in_panels`."""
    for number in range(len(frames.epochs)):
        figure, (ax,) = panels(title, height=5.0, images=True)
        draw_frame(ax, number)
        yield figure
