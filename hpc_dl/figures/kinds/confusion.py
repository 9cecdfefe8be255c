"""Confusion matrix: how often each true class is predicted as each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_MOST_CLASSES = 40
_MOST_NUMBERED = 12  # classes whose cells are large enough for a number


class Confusion(FigureKind):
    """Rows are true classes, columns predictions; the color is the share of the row."""

    at_end = 3

    def unfit(self, subject: Subject) -> str:
        """Whether each sample or position has one of a few classes."""
        return subject.no_classes(_MOST_CLASSES)

    def draw(self, subject: Subject) -> Figure:
        """Draw the matrix; each cell has its count, if there are few classes."""
        counts = subject.observations.errors_by_class()
        totals = counts.sum(1, keepdims=True)
        shares = counts / np.maximum(totals, 1)
        accuracy = counts.trace() / max(1, counts.sum())
        what = "samples" if subject.spec.task == "classification" else "positions"
        title = f"{subject.split_name.capitalize()}: {accuracy:.1%} of {counts.sum():,} {what} correct"
        figure, (ax,) = panels(title, height=5.0)
        image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        size = len(counts)
        names = [label(name, 12) for name in subject.class_names]
        ticks = np.arange(0, size, max(1, size // 20))
        ax.set_xticks(ticks, [names[i] for i in ticks], rotation=45 if max(map(len, names)) > 3 else 0, ha="right"
                      if max(map(len, names)) > 3 else "center")  # fmt: skip
        ax.set_yticks(ticks, [names[i] for i in ticks])
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.grid(False)
        if size <= _MOST_NUMBERED:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    color = "white" if shares[row, column] > 0.6 else "black"
                    text = f"{count}" if count < 100_000 else f"{count:.0e}"
                    ax.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
        figure.colorbar(image, ax=ax, label="share of the true class")
        return figure
