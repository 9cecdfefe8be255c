"""Lightning and torchmetrics, imported without large packages that they load and rarely use.

torchmetrics imports ``scipy.signal`` only to add a name that SciPy removed, and matplotlib for
plots of metrics; Lightning imports ``torch._dynamo`` to recognize compiled modules and to exclude
two methods from compilation. Together that is half of the time in which a command imports
Lightning. A training imports ``torch._dynamo`` anyway, when it builds its optimizer.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any


def defer_rarely_used() -> None:
    """Import the rarely used packages at their first use instead of with Lightning."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the packages that are imported with placeholders for others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual description of such a package, but with our loader."""
        if fullname not in ("torchmetrics", "lightning_fabric", "pytorch_lightning"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Import a package while placeholders stand for what it rarely uses."""
        with _placeholders():
            super().exec_module(module)


class _Placeholder(ModuleType):
    """Stands for a module until a name that it does not define is looked up."""

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        self._names = names
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        """Import the real module, which gives every name from then on."""
        if name.startswith("__"):  # looked up by the import system itself
            raise AttributeError(name)
        self.withdraw()
        return getattr(importlib.import_module(self.__name__), name)

    def withdraw(self) -> None:
        """Leave the place to the real module; names looked up here later are the real ones."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        for name in self._names:
            vars(self).pop(name, None)


class _IsCompiled(type):
    """Lets ``isinstance`` look for torch's class once something has been compiled."""

    def __instancecheck__(cls, instance: object) -> bool:
        real = sys.modules.get("torch._dynamo")
        return real is not None and isinstance(instance, real.OptimizedModule)


class _OptimizedModule(metaclass=_IsCompiled):
    """Stands for ``torch._dynamo.OptimizedModule``, which Lightning only uses in ``isinstance``."""


def _disable(function: Callable[..., Any], recursive: bool = True, *, reason: str | None = None) -> Callable[..., Any]:
    """``torch._dynamo.disable``, applied at the first call after torch imported the real one."""
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            real = sys.modules.get("torch._dynamo")
            if real is None:  # nothing has been compiled
                return function(*args, **kwargs)
            disabled = real.disable(function, recursive, reason=reason)
        return disabled(*args, **kwargs)

    return call


def _style_context(style: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorator ``plt.style.context(style)``, which imports matplotlib at the first call."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def styled(*args: Any, **kwargs: Any) -> Any:
            from matplotlib import pyplot

            with pyplot.style.context(style):
                return function(*args, **kwargs)

        return styled

    return decorate


@contextmanager
def _placeholders() -> Iterator[None]:
    """Put placeholders where nothing is imported yet, and withdraw them afterward."""
    pyplot = _Placeholder("matplotlib.pyplot", Figure=object, style=SimpleNamespace(context=_style_context))
    axes, colors = _Placeholder("matplotlib.axes", Axes=object), SimpleNamespace(Colormap=object)
    groups = [
        [_Placeholder("scipy.signal", hamming=None)],
        [_Placeholder("torch._dynamo", OptimizedModule=_OptimizedModule, disable=_disable)],
        [_Placeholder("matplotlib", axes=axes, colors=colors, pyplot=pyplot), axes, pyplot],
    ]
    placed = [module for group in groups if group[0].__name__ not in sys.modules for module in group]
    sys.modules.update({module.__name__: module for module in placed})
    try:
        yield
    finally:
        for module in placed:
            module.withdraw()
