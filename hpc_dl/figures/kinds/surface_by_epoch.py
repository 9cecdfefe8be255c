"""The decision surface of two input features after some epochs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_dl.figures.frame_panels import in_panels, one_by_one
from hpc_dl.figures.frames import Frames
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import MARKERS, SEQUENTIAL, class_colors
from hpc_dl.figures.surface_colors import surface_colors

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


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
        return in_panels(frames, "Predictions by input, after some epochs", partial(draw_frame, frames))

    def animation(self, subject: Subject) -> Iterator[Figure]:
        """Draw one panel for each frame."""
        frames = subject.frames["surface"]
        return one_by_one(frames, "Predictions by input", partial(draw_frame, frames))


def draw_frame(frames: Frames, ax: Axes, number: int) -> None:
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
