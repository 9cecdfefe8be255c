"""Calibration: the share of correct predictions against their probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_BINS = 10


class Calibration(FigureKind):
    """A reliability diagram (Guo et al., 2017) above the histogram of the probabilities.

    The expected calibration error is the mean distance from the diagonal, weighted by samples.
    """

    at_end = 5

    def unfit(self, subject: Subject) -> str:
        """Whether there are probabilities of classes."""
        return subject.no_probabilities()

    def draw(self, subject: Subject) -> Figure:
        """Draw both panels; bins without predictions are left out."""
        probabilities, classes = subject.observations.probabilities()
        confidence, correct = probabilities.max(1), probabilities.argmax(1) == classes
        bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
        counts = np.bincount(bins, minlength=_BINS)
        filled = counts > 0
        mean = np.bincount(bins, confidence, _BINS)[filled] / counts[filled]
        share = np.bincount(bins, correct, _BINS)[filled] / counts[filled]
        error = float((np.abs(mean - share) * counts[filled]).sum() / counts.sum())
        title = f"Calibration, {subject.split_name}: expected calibration error {error:.3f}"
        figure, (above, below) = panels(title, 2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=1, linestyle=":", label="perfectly calibrated")
        above.plot(mean, share, color=COLORS[0], marker="o", label="this model")
        above.set(ylabel="share correct", xlim=(0, 1), ylim=(-0.02, 1.05))
        above.legend(loc="upper left")
        below.bar((np.arange(_BINS) + 0.5) / _BINS, counts, width=0.9 / _BINS, color=COLORS[0])
        below.set(xlabel="probability of the predicted class", ylabel="predictions")
        return figure
