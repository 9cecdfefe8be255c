"""torch, Lightning and torchmetrics, imported without what they load and rarely use.

torchmetrics imports ``scipy.signal`` only to add a name that SciPy removed, and matplotlib for
plots of metrics; torch and Lightning import torch's compiler. Together that is half of the time in
which a command imports Lightning.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace
from typing import Any

from hpc_dl.compatibility import deferred_compiler
from hpc_dl.compatibility.placeholder import Placeholder


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
        if fullname not in ("torch", "torchmetrics", "lightning_fabric", "pytorch_lightning"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Import a package while placeholders stand for what it rarely uses."""
        with _placeholders(), _without_garbage_collection():
            super().exec_module(module)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Look for no garbage: what an import creates stays, and looking takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
    pyplot = Placeholder("matplotlib.pyplot", Figure=object, style=SimpleNamespace(context=_style_context))
    axes, colors = Placeholder("matplotlib.axes", Axes=object), SimpleNamespace(Colormap=object)
    groups = [
        [Placeholder("scipy.signal", hamming=None)],
        [Placeholder("matplotlib", axes=axes, colors=colors, pyplot=pyplot), axes, pyplot],
    ]
    placed = [module for group in groups if group[0].__name__ not in sys.modules for module in group]
    spec = PathFinder.find_spec("matplotlib")
    if spec is None:  # the benchmark of the GPU does without it
        placed = [module for module in placed if not module.__name__.startswith("matplotlib")]
    else:
        groups[-1][0].__spec__ = spec
    sys.modules.update({module.__name__: module for module in placed})
    deferred_compiler.place()
    try:
        yield
    finally:
        for module in placed:
            module.withdraw()
        deferred_compiler.attach()
