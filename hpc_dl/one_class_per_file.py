"""Packages in which each file holds one class: an architecture, a figure, a rule, a check.

To add one, a file is added; no list has to be updated.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TypeVar

_Base = TypeVar("_Base")


def class_in(package: str, name: str, base: type[_Base]) -> type[_Base]:
    """Return the only subclass of ``base`` that a file of a package defines; imports the file.

    Args:
        package: the package, such as ``hpc_dl.models``.
        name: the name of the file, without its ending.
        base: the class.
    """
    module = importlib.import_module(f"{package}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"{module.__file__} must define exactly one {base.__name__}, not {classes}"
    return classes[0]


def first_line(folder: str, name: str) -> str:
    """Return the first line of a file's docstring without importing the file.

    Args:
        folder: the folder of the package.
        name: the name of the file, without its ending.
    """
    source = (Path(folder) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
