"""``scipy.signal``, imported when something in it is used instead of with torchmetrics.

torchmetrics imports it only to add a name that SciPy removed. That takes an eighth of the start
of every command and rank that imports Lightning, and no training here uses it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_NAME = "scipy.signal"


class _DeferredSignal(ModuleType):
    """Takes the place of ``scipy.signal`` until a name in it is looked up."""

    hamming = None  # the name that torchmetrics looks for and would add

    def __getattr__(self, name: str) -> Any:
        """Import the real module, which then takes its place back."""
        if name.startswith("__"):  # looked up by the import system itself
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def defer_scipy_signal() -> None:
    """Import ``scipy.signal`` at its first use; does nothing where it is imported already."""
    sys.modules.setdefault(_NAME, _DeferredSignal(_NAME))
