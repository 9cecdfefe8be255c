"""How a language model continues the same beginning after some epochs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.style import label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_ROWS = 6
_COLUMNS = 64
_LINES = 3


class TextsByEpoch(FigureKind):
    """Texts drawn with temperature 0.8 and the same seed, one below the other."""

    needs_model = False

    def unfit(self, subject: Subject) -> str:
        """Whether the training has recorded texts."""
        return subject.no_frames("texts")

    def draw(self, subject: Subject) -> Figure:
        """Draw the first 192 characters of up to six texts."""
        frames = subject.frames["texts"]
        chosen = [int(number) for number in evenly_spread(len(frames.epochs), _ROWS)]
        title = "Texts with temperature 0.8 after some epochs"
        figure, axes = panels(title, len(chosen), 1, height=0.75 * len(chosen) + 0.5, images=True)
        for ax, number in zip(axes, chosen, strict=True):
            text = str(frames.values[number]).replace("\n", "⏎")
            lines = textwrap.wrap(text, _COLUMNS, drop_whitespace=False)[:_LINES]
            ax.set_title(f"epoch {frames.epochs[number]}", fontsize=9, loc="left")
            shown = "\n".join(label(line, _COLUMNS + 8) for line in lines)
            ax.text(0, 1, shown, family="monospace", fontsize=8.5, va="top", transform=ax.transAxes)
        return figure
