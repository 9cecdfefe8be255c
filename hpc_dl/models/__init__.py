"""The architectures, one file each. To add one, add a file here; nothing else needs to change.

A file ``NAME.py`` contains a :class:`ModelConfig`, whose ``name`` is ``NAME``, and the
LightningModule that it builds.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from hpc_dl.one_class_per_file import class_in, first_line

if TYPE_CHECKING:
    from hpc_dl.models.base import ModelConfig

_NOT_ARCHITECTURES = {"base", "custom", "construction", "network"}


def names() -> list[str]:
    """Return the names of all architectures, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_ARCHITECTURES)


def summary(name: str) -> str:
    """Return the first line of an architecture's docstring without importing it, nor torch."""
    return first_line(__path__[0], name)


def config_class(name: str) -> type[ModelConfig]:
    """Return the configuration class of an architecture; this imports its file."""
    from hpc_dl.models.base import ModelConfig

    return class_in(__name__, name, ModelConfig)  # type: ignore[type-abstract]
