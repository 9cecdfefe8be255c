"""Precision against recall of each class against the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.one_against_rest import no_scores, one_against_rest
from hpc_dl.figures.style import COLORS, LINES, label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


class PrecisionRecall(FigureKind):
    """A curve for each class, or for the second one of two, with the average precision."""

    at_end = 7

    def unfit(self, subject: Subject) -> str:
        """Whether there are scores of a few classes or labels."""
        return no_scores(subject)

    def draw(self, subject: Subject) -> Figure:
        """Draw the curves; a dotted line is the precision of guessing, the share of the class."""
        figure, (ax,) = panels(
            f"Precision and recall, {subject.split_name} ({len(subject.observations.samples):,} samples)"
        )
        for number, (name, scores, positive) in enumerate(one_against_rest(subject)):
            order = np.argsort(-scores, kind="stable")
            last_of_ties = np.append(np.diff(scores[order]) != 0, True)
            hits = np.cumsum(positive[order])[last_of_ties]
            precision = hits / (np.flatnonzero(last_of_ties) + 1)
            recall = hits / positive.sum()
            average = float(np.sum(np.diff(recall, prepend=0) * precision))
            color, line = COLORS[number % len(COLORS)], LINES[number // 3 % len(LINES)]
            ax.plot(
                np.append(0, recall),
                np.append(precision[:1], precision),
                color=color,
                linestyle=line,
                label=f"{label(name)}  AP {average:.3f}",
            )
            ax.axhline(positive.mean(), color=color, linewidth=0.8, linestyle=":")
        ax.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        ax.legend(loc="lower left")
        return figure
