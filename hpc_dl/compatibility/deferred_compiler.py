"""torch's compiler, imported when something is compiled.

Lightning imports ``torch._dynamo`` to recognize compiled modules and to exclude two methods from
compilation. torch itself imports it to exclude its optimizers, and to ask when ranks meet whether
their models are compiled, and ``torch._inductor`` to set one option. That takes a third of the
start of a training which compiles nothing.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from hpc_dl.compatibility.placeholder import Placeholder


class _Module(Placeholder):
    """Stands for a module of the compiler, and is replaced together with the others."""

    __path__: list[str] = []  # so that the import system asks our finder for submodules

    def replace(self) -> ModuleType:
        """Import the real module, and set the option that was set meanwhile."""
        withdraw()
        real = super().replace()
        if (deterministic := vars(_CONFIG).pop("deterministic", None)) is not None:
            importlib.import_module(_CONFIG.__name__).deterministic = deterministic  # type: ignore[attr-defined]
        return real


class _Finder(MetaPathFinder):
    """Finds the submodules of a placeholder, after the import of the real package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the description of a submodule of a placeholder, or ``None``."""
        package = sys.modules.get(fullname.rpartition(".")[0])
        if not isinstance(package, _Module):
            return None
        real = package.replace()
        if fullname in sys.modules:  # imported by its package
            return ModuleSpec(fullname, _Imported(sys.modules[fullname]))
        return PathFinder.find_spec(fullname, real.__path__)


class _Imported(Loader):
    """Gives a module that is already imported, unchanged."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own description, which the import system has replaced."""
        module.__spec__ = self._spec


class _IsCompiled(type):
    """Lets ``isinstance`` look for torch's class once something has been compiled."""

    def __instancecheck__(cls, instance: object) -> bool:
        real = _real_dynamo()
        return real is not None and isinstance(instance, real.OptimizedModule)


class _OptimizedModule(metaclass=_IsCompiled):
    """Stands for ``torch._dynamo.OptimizedModule``, which Lightning only uses in ``isinstance``."""


def _disable(function: Callable[..., Any], recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """``torch._dynamo.disable``, applied at the first call after the import of the real one."""
    disabled: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal disabled
        if disabled is None:
            real = _real_dynamo()
            if real is None:  # nothing has been compiled
                return function(*args, **kwargs)
            disabled = real.disable(function, recursive, **options)
        return disabled(*args, **kwargs)

    return call


def _nothing(*_: object, **__: object) -> None:
    """What clears or ends something of the compiler, before there is anything."""


def _optimize_ddp_mode() -> str:
    """The mode of a compiler whose option ``optimize_ddp`` nobody has set."""
    return "ddp_optimizer"


# torch asks these two where a process group and a DDP model begin.
_RULES = _Module("torch._dynamo.trace_rules", clear_lru_cache=_nothing)
_UTILS = _Module("torch._dynamo.utils", get_optimize_ddp_mode=_optimize_ddp_mode)
_DYNAMO = _Module(
    "torch._dynamo",
    OptimizedModule=_OptimizedModule,
    disable=_disable,
    graph_break=_nothing,
    trace_rules=_RULES,
    utils=_UTILS,
)
_INDUCTOR = _Module("torch._inductor")
_CONFIG = _Module("torch._inductor.config")


def _real_dynamo() -> Any:
    """``torch._dynamo`` if it is imported."""
    module = sys.modules.get("torch._dynamo")
    return None if module is _DYNAMO else module


def compiler_is_imported() -> bool:
    """Whether torch's compiler has been imported; until then nothing can have been compiled."""
    return _real_dynamo() is not None


def place() -> None:
    """Put placeholders in the places of the compiler's modules, unless it is imported."""
    if "torch._dynamo" in sys.modules or "torch._inductor" in sys.modules:
        return
    sys.meta_path.insert(0, _Finder())
    sys.modules.update({module.__name__: module for module in (_DYNAMO, _INDUCTOR, _CONFIG)})


def attach() -> None:
    """Make the placeholders attributes of torch, once it is imported: each step looks there."""
    torch = sys.modules.get("torch")
    if torch is None or sys.modules.get("torch._dynamo") is not _DYNAMO:
        return
    for module in (_DYNAMO, _INDUCTOR):
        module.__spec__ = PathFinder.find_spec(module.__name__, torch.__path__)
        vars(torch)[module.__name__.rpartition(".")[2]] = module
    vars(_INDUCTOR)["config"] = _CONFIG


def withdraw() -> None:
    """Leave the places to the real modules."""
    vars(_INDUCTOR).pop("config", None)
    for module in (_DYNAMO, _INDUCTOR, _CONFIG):
        module.withdraw()
        torch, name = sys.modules.get("torch"), module.__name__.rpartition(".")[2]
        if torch is not None and vars(torch).get(name) is module:
            delattr(torch, name)
