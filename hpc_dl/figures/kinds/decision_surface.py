"""What a network of one or two input features predicts for every input, with the data on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.plane import Plane, no_plane, plane
from hpc_dl.figures.style import COLORS, MARKERS, SEQUENTIAL, class_colors, class_legend, label, panels
from hpc_dl.figures.surface_colors import surface_colors

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_POINTS = 400


class DecisionSurface(FigureKind):
    """Classes as colored regions, paler where they are less certain; values as a curve or map."""

    at_end = 2

    def unfit(self, subject: Subject) -> str:
        """Whether a sample has one or two features."""
        return no_plane(subject)

    def draw(self, subject: Subject) -> Figure:
        """Draw the surface in the units of the data, and some samples."""
        numbers = evenly_spread(subject.spec.sizes[subject.split], _POINTS)
        assert subject.batches is not None
        stored: Any = subject.batches.read_batch(subject.split, numbers)
        x, y = (part.float().numpy() for part in stored)
        grid = plane(x)
        outputs = grid.outputs(subject)
        title = f"Predictions by input, and {len(x):,} {subject.split_name} samples"
        figure, (ax,) = panels(title, height=4.6)
        if x.shape[1] == 1:
            _draw_curve(ax, grid, outputs, x, y, subject)
        else:
            draw_surface(ax, grid, outputs, subject)
            draw_points(ax, x, y, subject)
        return figure


def draw_surface(ax: Axes, grid: Plane, outputs: torch.Tensor, subject: Subject) -> None:
    """Draw the predictions for a grid of two features.

    Args:
        ax: where to.
        grid: the inputs.
        outputs: (points, K) of the network.
        subject: names the classes.
    """
    if subject.spec.task == "classification":
        ax.imshow(
            grid.image(surface_colors(outputs.numpy())),
            extent=grid.extent,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
        )
    else:
        values = grid.image(outputs[:, 0].numpy())
        image = ax.imshow(values, extent=grid.extent, origin="lower", aspect="auto", cmap=SEQUENTIAL)
        ax.figure.colorbar(image, ax=ax, label="predicted value")
    ax.grid(False)
    ax.set(xlabel="feature 0", ylabel="feature 1")


def draw_points(ax: Axes, x: NDArray[Any], y: NDArray[Any], subject: Subject) -> None:
    """Draw samples (N, 2) of two features with their class."""
    if subject.spec.task != "classification":
        ax.plot(*x.T, linestyle="none", marker="o", markersize=2, color="black", alpha=0.6)
        return
    names = subject.class_names
    present = sorted({int(number) for number in y if number >= 0})
    for number in present:
        ax.plot(
            *x[y == number].T, linestyle="none", marker=MARKERS[number % len(MARKERS)], markersize=5,
            markeredgecolor="white", markeredgewidth=0.5, color=class_colors(len(names))[number],
        )  # fmt: skip
    class_legend(ax, names, present, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_curve(
    ax: Axes, grid: Plane, outputs: torch.Tensor, x: NDArray[Any], y: NDArray[Any], subject: Subject
) -> None:
    classes = subject.spec.task == "classification"
    predicted = outputs.softmax(1).numpy() if classes else outputs.numpy()
    true = np.eye(predicted.shape[1])[y.astype(int)] if classes else y.reshape(len(x), -1)
    for number, color in enumerate(COLORS[: predicted.shape[1]]):
        name = label(subject.class_names[number]) if classes else "predicted"
        ax.plot(
            x[:, 0], true[:, number], linestyle="none", marker=MARKERS[number], markersize=4, color=color, label="data"
        )
        ax.plot(grid.points[:, 0], predicted[:, number], color=color if classes else COLORS[1], label=name)
    ax.set(xlabel="feature 0", ylabel="probability" if classes else "value")
    ax.legend()
