"""Samples of a generator, next to real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.inputs import show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.principal_axes import principal_axes
from hpc_dl.figures.style import COLORS, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_POINTS = 1000
_COLUMNS = 8


class Samples(FigureKind):
    """Vectors as points of the first two features or principal components, others as pictures."""

    at_end = 2

    def unfit(self, subject: Subject) -> str:
        """Whether the model has a generator of such samples."""
        if subject.batches is None or subject.data is None or subject.data.task != "generation":
            return "applies to the task generation"
        return "" if hasattr(subject.model, "sample") else "needs a model with the method sample(count)"

    def draw(self, subject: Subject) -> Figure:
        """Draw the samples in the units of the data."""
        assert subject.batches is not None and subject.model is not None
        shape = subject.spec.input_shape
        count = _POINTS if len(shape) == 1 else 2 * _COLUMNS
        numbers = evenly_spread(subject.spec.sizes[subject.split], count)
        stored: Any = subject.batches.read_batch(subject.split, numbers)
        real = stored[0].float().numpy()
        generated = subject.model.sample(len(numbers)).float().cpu().numpy()  # type: ignore[operator]
        title = f"{len(real):,} {subject.split_name} samples and as many generated ones"
        if len(shape) > 1:
            return _pictures(title, real, generated)
        names = ["feature 0", "feature 1"]
        if shape[0] != 2:
            axes_of_data = principal_axes(real, 2)
            real, generated = (axes_of_data.project(values) for values in (real, generated))
            names = [f"principal component {number} of the real samples" for number in (1, 2)]
        figure, (ax,) = panels(title)
        points: dict[str, Any] = {"markersize": 3, "linestyle": "none", "alpha": 0.6}
        ax.plot(*real.T[:2], marker="o", color=COLORS[0], label="real", **points)
        ax.plot(*generated.T[:2], marker="x", color=COLORS[1], label="generated", **points)
        ax.set(xlabel=names[0], ylabel=names[1])
        ax.set_aspect("equal", "datalim")
        ax.legend()
        return figure


def _pictures(title: str, real: np.ndarray, generated: np.ndarray) -> Figure:
    limits = float(real.min()), float(real.max())
    columns = min(_COLUMNS, len(real))
    figure, axes = panels(f"{title}: real (above), generated (below)", 4, columns, height=3.8, images=True)
    for part, values in enumerate((real, generated)):
        for ax, sample in zip(axes[part * 2 * columns :][: 2 * columns], values, strict=False):
            show_sample(ax, sample, limits)
    return figure
