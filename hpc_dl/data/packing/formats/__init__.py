"""The formats that ``hpc-dl data pack`` reads, one module per format.

To add a format, add a module with a ``FORMAT``; no list has to be updated. A library that only one
format needs is imported when a source of that format is opened.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.source import PackOptions, Source


@dataclass(frozen=True)
class Format:
    """A format, and how to recognize and open a source of it.

    Attributes:
        accepts: what the user can pack, for the message about other files: ``.csv .tsv``.
        claims: whether a file or folder is of this format, by its name, or by a look into it.
        open: opens it.
        order: formats with a lower number are asked first; below 50 for those that look into a file
            or folder that a more general format would take as well.
    """

    accepts: str
    claims: Callable[[Place], bool]
    open: Callable[[Path, PackOptions], Source]
    order: int = 50


def formats() -> list[Format]:
    """Return all formats, in the order in which they are asked."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: list[Format] = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return sorted(found, key=lambda format: format.order)
