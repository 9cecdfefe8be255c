"""The decision surface of two input features after some epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_dl.figures.frames import Frames
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.style import MARKERS, SEQUENTIAL, class_colors, panels
from hpc_dl.figures.surface_colors import surface_colors

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_PANELS = 6


class SurfaceByEpoch(FigureKind):
    """Six of the recorded surfaces, with samples of the data; as a GIF all of them."""

    needs_model = False
    animated = True

    def unfit(self, subject: Subject) -> str:
        """Whether the training has recorded surfaces."""
        return subject.no_frames("surface")

    def draw(self, subject: Subject) -> Figure:
        """Draw two rows of three."""
        frames = subject.frames["surface"]
        chosen = evenly_spread(len(frames.epochs), _PANELS)
        figure, axes = panels("Predictions by input, after some epochs", 2, 3, height=4.4, images=True)
        for ax, number in zip(axes, chosen, strict=False):
            draw_frame(ax, frames, int(number))
        for ax in axes[len(chosen) :]:
            ax.set_visible(False)
        return figure

    def animation(self, subject: Subject) -> Iterator[Figure]:
        """Draw one panel for each frame."""
        frames = subject.frames["surface"]
        for number in range(len(frames.epochs)):
            figure, (ax,) = panels("Predictions by input", height=5.0, images=True)
            draw_frame(ax, frames, number)
            yield figure


def draw_frame(ax: Axes, frames: Frames, number: int) -> None:
    """Draw one of the recorded surfaces."""
    outputs = np.asarray(frames.values[number], np.float32)
    side = round(len(outputs) ** 0.5)
    options: dict[str, Any] = {"extent": frames.extent, "origin": "lower", "aspect": "auto"}
    if frames.class_names:
        colors = surface_colors(outputs)
        ax.imshow(colors.reshape(side, side, 3), interpolation="bilinear", **options)
        for number_of_class, color in enumerate(class_colors(len(frames.class_names))):
            ax.plot(
                *frames.points[frames.targets == number_of_class].T, linestyle="none", color=color, markersize=3,
                marker=MARKERS[number_of_class % len(MARKERS)], markeredgecolor="white", markeredgewidth=0.3,
            )  # fmt: skip
    else:
        low, high = float(frames.targets.min()), float(frames.targets.max())
        ax.imshow(outputs[:, 0].reshape(side, side), cmap=SEQUENTIAL, vmin=low, vmax=high, **options)
    ax.set_title(f"epoch {frames.epochs[number]}", fontsize=9)
