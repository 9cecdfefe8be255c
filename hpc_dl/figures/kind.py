"""The base class of the kinds of figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpc_dl.figures.subject import Subject


class FigureKind(ABC):
    """A kind of figure: which runs it applies to, and how it is drawn.

    Attributes:
        needs_model: whether it needs more than the journal.
        at_end: its place among the figures of a finished run, which draws the first few that apply
            to it; 0 for a figure that is drawn on demand only.
        animated: whether it can also be drawn as one figure for each frame.
    """

    needs_model: ClassVar[bool] = True
    at_end: ClassVar[int] = 0
    animated: ClassVar[bool] = False

    @abstractmethod
    def unfit(self, subject: Subject) -> str:
        """Return why a run has no such figure, as the end of a sentence; empty if it has one."""

    @abstractmethod
    def draw(self, subject: Subject) -> Figure:
        """Draw the figure of a run for which :meth:`unfit` returns nothing."""

    def animation(self, subject: Subject) -> Iterator[Figure]:
        """Draw one figure of the same size for each frame, if the kind is animated."""
        raise NotImplementedError
