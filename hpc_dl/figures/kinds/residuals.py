"""Predicted against true values, and the distribution of the residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, MARKERS, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_MOST_OUTPUTS = 4


class Residuals(FigureKind):
    """For each of the first few outputs: a point per sample, and a histogram."""

    at_end = 3

    def unfit(self, subject: Subject) -> str:
        """Whether the task is a regression."""
        return subject.no_outputs("regression")

    def draw(self, subject: Subject) -> Figure:
        """Draw both panels, in the units of the targets."""
        observed = subject.observations
        predicted = observed.outputs.reshape(len(observed.outputs), -1).numpy()[:, :_MOST_OUTPUTS]
        true = observed.targets.reshape(len(predicted), -1).float().numpy()[:, :_MOST_OUTPUTS]
        residuals = predicted - true
        rmse = float(np.sqrt((residuals**2).mean()))
        title = f"{subject.split_name.capitalize()} ({len(true):,} samples): root mean square error {rmse:.4g}"
        figure, (left, right) = panels(title, 1, 2, height=3.4)
        low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
        left.plot([low, high], [low, high], color="#7F7F7F", linewidth=1, linestyle=":")
        for number in range(true.shape[1]):
            name = f"output {number}" if true.shape[1] > 1 else None
            left.plot(
                true[:, number], predicted[:, number], linestyle="none", marker=MARKERS[number], markersize=4,
                alpha=0.6, color=COLORS[number], label=name,
            )  # fmt: skip
        right.hist(
            list(residuals.T),
            bins=30,
            color=list(COLORS[: true.shape[1]]),
            histtype="bar" if true.shape[1] == 1 else "step",
        )
        right.axvline(0, color="#7F7F7F", linewidth=1, linestyle=":")
        left.set(xlabel="true value", ylabel="predicted value")
        right.set(xlabel="residual: predicted − true", ylabel="samples")
        if true.shape[1] > 1:
            left.legend()
        return figure
