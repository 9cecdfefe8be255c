"""The architectures: one file each, found by its name. A new one is a new file here and nothing
else.

A file ``NAME.py`` holds a :class:`ModelConfig` (its ``name`` is ``NAME``) and the LightningModule
that it builds.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.models.base import ModelConfig

_NOT_ARCHITECTURES = {"base", "custom"}


def names() -> list[str]:
    """The names of all architectures, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_ARCHITECTURES)


def summary(name: str) -> str:
    """The first line of an architecture's docstring, read without importing it (and torch with it)."""
    source = (Path(__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def config_class(name: str) -> type[ModelConfig]:
    """The configuration class of an architecture; imports its file."""
    from hpc_dl.models.base import ModelConfig

    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ModelConfig) and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__file__} must define exactly one ModelConfig, found {found}"
    return found[0]
