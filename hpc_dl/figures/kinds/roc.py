"""ROC curves: true against false positive rate of each class against the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.one_against_rest import no_scores, one_against_rest
from hpc_dl.figures.style import COLORS, LINES, label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


class ROC(FigureKind):
    """A curve for each class, or for the second one of two, with the area under it."""

    at_end = 6

    def unfit(self, subject: Subject) -> str:
        """Whether there are scores of a few classes or labels."""
        return no_scores(subject)

    def draw(self, subject: Subject) -> Figure:
        """Draw the curves, the largest area first in the legend."""
        figure, (ax,) = panels(f"ROC, {subject.split_name} ({len(subject.observations.samples):,} samples)")
        ax.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=1, linestyle=":")
        for number, (name, scores, positive) in enumerate(one_against_rest(subject)):
            order = np.argsort(-scores, kind="stable")
            last_of_ties = np.append(np.diff(scores[order]) != 0, True)
            true = np.append(0, np.cumsum(positive[order])[last_of_ties] / positive.sum())
            false = np.append(0, np.cumsum(~positive[order])[last_of_ties] / (~positive).sum())
            area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
            color, line = COLORS[number % len(COLORS)], LINES[number // 3 % len(LINES)]
            ax.plot(false, true, color=color, linestyle=line, label=f"{label(name)}  AUC {area:.3f}")
        ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        ax.legend(loc="lower right")
        return figure
