"""Learned representations, projected to their first two principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.principal_axes import principal_axes
from hpc_dl.figures.representations import Representations, no_representations, representations
from hpc_dl.figures.style import COLORS, MARKERS, SEQUENTIAL, class_colors, class_legend, label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


class Embeddings(FigureKind):
    """Word vectors, codes of an autoencoder, or the inputs of a network's last layer."""

    at_end = 8

    def unfit(self, subject: Subject) -> str:
        """Whether the model has vectors of words or of samples."""
        return no_representations(subject)

    def draw(self, subject: Subject) -> Figure:
        """Draw a point for each word or sample; codes of two numbers are shown as they are."""
        found = representations(subject)
        if found.points.shape[1] == 2:
            return scatter(found, found.points, ("first number", "second number"))
        axes = principal_axes(found.points, 2)
        names = [f"component {n + 1} ({share:.0%} of the variance)" for n, share in enumerate(axes.shares)]
        return scatter(found, axes.project(found.points), (names[0], names[-1]))


def scatter(found: Representations, points: np.ndarray, names: tuple[str, str]) -> Figure:
    """Draw points (N, 2) by class, or with their words.

    Args:
        found: what the points represent.
        points: the coordinates.
        names: of the two axes.
    """
    figure, (ax,) = panels(found.title, height=4.8)
    if found.words:
        ax.plot(points[:, 0], points[:, 1], linestyle="none", marker=".", markersize=3, color=COLORS[0])
        for (x, y), text in zip(points, found.words, strict=True):
            ax.annotate(label(text), (float(x), float(y)), xytext=(2, 2), textcoords="offset points", fontsize=8)
    elif found.values is not None:
        colored = ax.scatter(points[:, 0], points[:, 1], s=12, c=found.values, cmap=SEQUENTIAL)
        figure.colorbar(colored, ax=ax, label="true value")
    elif found.classes is None:
        ax.plot(points[:, 0], points[:, 1], linestyle="none", marker="o", markersize=3, alpha=0.6)
    else:
        colors = class_colors(len(found.class_names))
        present = sorted({int(number) for number in found.classes if number >= 0})
        for number in present:
            ax.plot(
                *points[found.classes == number].T, linestyle="none", marker=MARKERS[number % len(MARKERS)],
                markersize=4, alpha=0.7, color=colors[number],
            )  # fmt: skip
        class_legend(ax, found.class_names, present, loc="upper left", bbox_to_anchor=(1, 1))
    ax.set(xlabel=names[0], ylabel=names[1])
    return figure
