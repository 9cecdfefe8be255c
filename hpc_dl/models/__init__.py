"""The architectures, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`ModelConfig`, whose ``name`` is ``NAME``, and the
LightningModule that it builds.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.models.base import ModelConfig

_NOT_ARCHITECTURES = {"base", "custom", "construction", "network"}


def names() -> list[str]:
    """Return the names of all architectures, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_ARCHITECTURES)


def summary(name: str) -> str:
    """Return the first line of an architecture's docstring without importing it, nor torch."""
    source = (Path(__path__[0]) / f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def config_class(name: str) -> type[ModelConfig]:
    """Return the configuration class of an architecture; this imports its file."""
    from hpc_dl.models.base import ModelConfig

    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ModelConfig) and value.__module__ == module.__name__
    ]
    assert len(classes) == 1, f"{module.__file__} must define exactly one ModelConfig, not {classes}"
    return classes[0]
