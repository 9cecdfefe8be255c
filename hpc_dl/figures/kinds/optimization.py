"""Learning rate and norm of the gradient by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_NAMES = {"train/lr": "learning rate", "train/gradient_norm": "norm of the gradient"}


class Optimization(FigureKind):
    """Two panels, one above the other: the schedule, and how the gradients responded to it."""

    needs_model = False
    at_end = 9

    def unfit(self, subject: Subject) -> str:
        """Whether the training logged either of them at two steps."""
        counts = [sum(name in row for row in subject.journal) for name in _NAMES]
        return "" if max(counts) > 1 else "needs two rows of training steps in the journal"

    def draw(self, subject: Subject) -> Figure:
        """Draw a panel for each of the two that was logged."""
        logged = {name: [row for row in subject.journal if name in row] for name in _NAMES}
        logged = {name: rows for name, rows in logged.items() if rows}
        figure, axes = panels(subject.run.name, len(logged), 1, sharex=True)
        for number, (ax, (name, rows)) in enumerate(zip(axes, logged.items(), strict=True)):
            values = np.array([float(row[name]) for row in rows])
            ax.plot([row["step"] for row in rows], values, color=COLORS[number])
            ax.set_ylabel(_NAMES[name])
            finite = values[np.isfinite(values)]
            if name == "train/gradient_norm" and len(finite) and finite.min() > 0:
                ax.set_yscale("log")
        axes[-1].set_xlabel("optimizer step")
        return figure
