"""How the hidden layers bend the plane of two input features until a line divides the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.plane import SIZE, no_plane, plane
from hpc_dl.figures.principal_axes import principal_axes
from hpc_dl.figures.representations import last_layer, vectors
from hpc_dl.figures.style import MARKERS, class_colors, class_legend, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_POINTS = 300
_LINES = 12  # of the grid along each axis


class HiddenSpace(FigureKind):
    """Samples and a grid of the input plane as the last layer sees them: two of its inputs."""

    def unfit(self, subject: Subject) -> str:
        """Whether two features are mapped to classes by at least one hidden layer."""
        if reason := subject.no_outputs("classification") or no_plane(subject):
            return reason
        layer = last_layer(subject)
        hidden = layer is not None and layer.in_features > 1 and len(list(subject.network.parameters())) > 2
        return "" if hidden and subject.spec.input_shape == (2,) else "needs two features and a hidden layer"

    def draw(self, subject: Subject) -> Figure:
        """Draw both; more than two units are projected to two principal components."""
        assert subject.batches is not None
        numbers = evenly_spread(subject.spec.sizes[subject.split], _POINTS)
        stored: Any = subject.batches.read_batch(subject.split, numbers)
        x, y = (part.float().numpy() for part in stored)
        grid = plane(x)
        hidden, lines = (self._hidden(subject, points) for points in (x, grid.points))
        names = ("unit 0", "unit 1")
        units = hidden.shape[1]
        if units > 2:
            axes_of_units = principal_axes(hidden, 2)
            hidden, lines = axes_of_units.project(hidden), axes_of_units.project(lines)
            names = ("component 1", "component 2")
        title = f"Last hidden layer ({units} units): {len(x)} {subject.split_name} samples, grid of the inputs"
        figure, (ax,) = panels(title, height=4.6)
        bent = grid.image(lines)
        for number in range(0, SIZE, SIZE // _LINES):
            ax.plot(*bent[number].T, color="#B0B0B0", linewidth=0.6)
            ax.plot(*bent[:, number].T, color="#B0B0B0", linewidth=0.6)
        colors, present = class_colors(len(subject.class_names)), sorted({int(c) for c in y if c >= 0})
        for number in present:
            ax.plot(
                *hidden[y == number].T, linestyle="none", marker=MARKERS[number % len(MARKERS)], markersize=4,
                color=colors[number],
            )  # fmt: skip
        class_legend(ax, subject.class_names, present, loc="upper left", bbox_to_anchor=(1, 1))
        ax.grid(False)
        ax.set(xlabel=names[0], ylabel=names[1])
        return figure

    @staticmethod
    def _hidden(subject: Subject, points: Any) -> np.ndarray[Any, Any]:
        assert subject.batches is not None
        x = subject.batches.preprocessings[0](torch.from_numpy(points).to(subject.device))
        return vectors(subject, x).float().cpu().numpy()
