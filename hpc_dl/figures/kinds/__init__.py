"""The kinds of figures, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`hpc_dl.figures.kind.FigureKind`; the first line of its
docstring says what the figure shows.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.figures.kind import FigureKind


def names() -> list[str]:
    """Return the names of all kinds, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def summary(name: str) -> str:
    """Return what a kind of figure shows, without importing it."""
    source = (Path(__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def kind(name: str) -> FigureKind:
    """Return a kind of figure; this imports its file."""
    from hpc_dl.figures.kind import FigureKind

    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, FigureKind) and value.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"{module.__file__} must define exactly one FigureKind, not {classes}"
    return classes[0]()
