"""The kinds of figures, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`hpc_dl.figures.kind.FigureKind`; the first line of its
docstring says what the figure shows.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from hpc_dl.one_class_per_file import class_in, first_line

if TYPE_CHECKING:
    from hpc_dl.figures.kind import FigureKind


def names() -> list[str]:
    """Return the names of all kinds, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def summary(name: str) -> str:
    """Return what a kind of figure shows, without importing it."""
    return first_line(__path__[0], name)


def kind(name: str) -> FigureKind:
    """Return a kind of figure; this imports its file."""
    from hpc_dl.figures.kind import FigureKind

    return class_in(__name__, name, FigureKind)()  # type: ignore[type-abstract]
