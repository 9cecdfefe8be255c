"""How the hidden layers bend the plane of two input features until a line separates the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpc_dl.figures.hidden_plane import hidden_units, no_hidden_plane
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.plane import plane
from hpc_dl.figures.principal_axes import principal_axes
from hpc_dl.figures.style import MARKERS, class_colors, class_legend, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_POINTS = 300
_LINES = 12  # of the grid along each axis


class HiddenSpace(FigureKind):
    """Samples and a grid of the input plane as the last layer sees them: two of its inputs."""

    def unfit(self, subject: Subject) -> str:
        """Whether two features are mapped to classes by at least one hidden layer."""
        return no_hidden_plane(subject)

    def draw(self, subject: Subject) -> Figure:
        """Draw both; more than two units are projected to two principal components."""
        assert subject.batches is not None
        numbers = evenly_spread(subject.spec.sizes[subject.split], _POINTS)
        stored: Any = subject.batches.read_batch(subject.split, numbers)
        x, y = (part.float().numpy() for part in stored)
        grid = plane(x)
        samples, lines = (hidden_units(subject, points) for points in (x, grid.points))
        projection = Projection(samples)
        title = (
            f"Last hidden layer ({samples.shape[1]} units): {len(x)} {subject.split_name} samples, grid of the inputs"
        )
        figure, (ax,) = panels(title, height=4.6)
        draw_hidden_plane(ax, projection(samples), grid.image(projection(lines)), y, subject.class_names)
        present = sorted({int(c) for c in y if c >= 0})
        class_legend(ax, subject.class_names, present, loc="upper left", bbox_to_anchor=(1, 1))
        ax.set(xlabel=projection.names[0], ylabel=projection.names[1])
        return figure


class Projection:
    """Two coordinates of hidden units: the units themselves, or the principal components of some.

    Attributes:
        names: of the coordinates.
    """

    def __init__(self, units: NDArray[Any]) -> None:
        self._axes = principal_axes(units, 2) if units.shape[1] > 2 else None
        self.names = ("unit 0", "unit 1") if self._axes is None else ("component 1", "component 2")

    def __call__(self, units: NDArray[Any]) -> NDArray[Any]:
        """Map (N, F) to (N, 2)."""
        return units if self._axes is None else self._axes.project(units)


def draw_hidden_plane(
    ax: Axes, samples: NDArray[Any], grid: NDArray[Any], classes: NDArray[Any], class_names: Sequence[str]
) -> None:
    """Draw samples on the bent grid of the inputs.

    Args:
        ax: where to.
        samples: (N, 2) coordinates.
        grid: (rows, columns, 2) coordinates of a grid of inputs; every few lines are drawn.
        classes: (N,) numbers of the classes; negative for samples that are not drawn.
        class_names: names of all classes.
    """
    for number in range(0, len(grid), len(grid) // _LINES):
        ax.plot(*grid[number].T, color="#B0B0B0", linewidth=0.6)
        ax.plot(*grid[:, number].T, color="#B0B0B0", linewidth=0.6)
    colors = class_colors(len(class_names))
    for number in np.unique(classes[classes >= 0]).astype(int):
        ax.plot(
            *samples[classes == number].T, linestyle="none", marker=MARKERS[number % len(MARKERS)], markersize=4,
            color=colors[number],
        )  # fmt: skip
    ax.grid(False)
