"""The ``wandb.Run`` of a module in a run that reports nothing to W&B, created at its first use.

Importing wandb takes a second, which a run without it need not spend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class RunOnDemand:
    """Stands for a run in ``self.logger.experiment``."""

    def __init__(self, run: Callable[[], Any]) -> None:
        """Create nothing yet.

        Args:
            run: returns the run, and makes it when it is first called.
        """
        self._run = run

    def __getattr__(self, name: str) -> Any:
        """An attribute of the run; Python asks for private ones itself, to copy an object."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._run(), name)


class AfterImport(MetaPathFinder):
    """Calls a function once this process has imported a module, also within a function."""

    def __init__(self, module: str, then: Callable[[], object]) -> None:
        """Wait for the import.

        Args:
            module: its name.
            then: called once, after its first import.
        """
        self._module = module
        self._then = then
        self._process = os.getpid()  # not in a forked data loading worker
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Stop waiting."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module as if this were not here, and be called after its import."""
        if name != self._module or os.getpid() != self._process:
            return None
        self.stop()
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                del spec.loader.exec_module  # type: ignore[union-attr]
                execute(module)
                self._then()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
