"""A module that is imported when something of it is used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class Placeholder(ModuleType):
    """Stands for a module until a name that it does not define is looked up."""

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        self._names = names
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        """Import the real module, which gives every name from then on."""
        if name.startswith("__"):  # looked up by the import system itself
            raise AttributeError(name)
        return getattr(self.replace(), name)

    def replace(self) -> ModuleType:
        """Import the real module; names looked up here later are the real ones."""
        self.withdraw()
        return importlib.import_module(self.__name__)

    def withdraw(self) -> None:
        """Leave the place to the real module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        for name in self._names:
            vars(self).pop(name, None)
