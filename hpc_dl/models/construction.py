"""Python objects that the YAML describes by an import path and arguments.

``{class: package.Class, args: {…}}`` is the object that the class (or a function) returns, also
within ``args``; ``args`` may be a list of positional arguments. ``{object: package.Class}`` is the
class or function itself.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, HpcDlError, describe, nearest
from hpc_dl.schema import is_import_path

Args = dict[str, Any] | list[Any]


def search_current_folder() -> None:
    """Let Python find modules in the current folder as well."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


@contextmanager
def importing_from(first: str, last: str | None) -> Iterator[None]:
    """A context in which Python looks for modules in one folder first and in another one last."""
    before = list(sys.path)
    search_current_folder()
    sys.path[:] = [first, *sys.path, *([last] if last else [])]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def import_module(name: str, where: str, value: str) -> ModuleType:
    """Import a module; the current folder is searched as well.

    Args:
        name: name of the module.
        where: the key with the import path.
        value: the import path, for the message.

    Raises:
        ConfigError: it cannot be imported.
    """
    search_current_folder()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise ConfigError.at(
            where,
            f"cannot import {name}: {describe(error)}",
            value=value,
            remedy=_import_remedy(name, error),
        ) from error


def _import_remedy(name: str, error: BaseException) -> str:
    """What helps if the import of a user's module fails, also because of what it imports itself."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return f"correct it; `python -c 'import {name}'` shows the whole traceback"
    if name == error.name or name.startswith(f"{error.name}."):
        return "start hpc-dl in the folder that contains your package, or install it"
    if error.name.partition(".")[0] == "lightning":
        return "import pytorch_lightning instead, which hpc_dl trains with"
    return f"install {error.name.partition('.')[0]} in the environment of hpc-dl"


def import_object(path: str, where: str) -> Any:
    """Import a class, a function, or an attribute of a class such as ``package.Class.method``.

    Raises:
        ConfigError: it cannot be imported.
    """
    name, *attributes = path.split(".")
    value: Any = import_module(name, where, path)
    for attribute in attributes:
        name = f"{name}.{attribute}"
        if not hasattr(value, attribute) and isinstance(value, ModuleType) and _is_package(value):
            if name == path:
                break
            value = import_module(name, where, path)
        elif hasattr(value, attribute):
            value = getattr(value, attribute)
        else:
            break
    else:
        return value
    known = [other for other in dir(value) if not other.startswith("_")]
    raise ConfigError.at(
        where,
        f"{name.rpartition('.')[0]} has no {attribute}",
        value=path,
        remedy=nearest(attribute, known) or "check the import path",
    )


def construct(target: Callable[..., Any], args: Args, where: str, path: str, data: DataSpec | None = None) -> Any:
    """Call a class or function with the arguments of the YAML.

    Args:
        target: what is called.
        args: keyword arguments, or a list of positional ones; may contain further objects.
        where: the key of the arguments.
        path: import path of ``target``, for messages.
        data: passed to a parameter named ``data`` that the YAML does not give.

    Raises:
        ConfigError: the arguments do not fit, or ``target`` raises an exception.
    """
    positional = [_value(item, f"{where}.{i}") for i, item in enumerate(args)] if isinstance(args, list) else []
    named = {key: _value(item, f"{where}.{key}") for key, item in args.items()} if isinstance(args, dict) else {}
    with suppress(TypeError, ValueError):  # of inspect.signature: some built-in types have none
        signature = inspect.signature(target)
        if data is not None and "data" in signature.parameters and isinstance(args, dict):
            named.setdefault("data", data)
        _check_modules(target, named, where)
    try:
        return target(*positional, **named)
    except HpcDlError:
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        # Only now: some classes accept more than their signature shows.
        if isinstance(error, TypeError) and (fault := _unfit(target, positional, named)):
            problem, allowed = fault
            raise ConfigError.at(where, f"do not fit {path}: {problem}", value=args, allowed=allowed) from None
        raise ConfigError.at(where, f"{path} raised {describe(error, anywhere=True)}", value=args) from error


def _value(value: Any, where: str) -> Any:
    """An argument with the objects that it describes."""
    if isinstance(value, list):
        return [_value(item, f"{where}.{i}") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if is_import_path(path := value.get("class")) and value.keys() <= {"class", "args"}:
        return construct(import_object(path, f"{where}.class"), value.get("args") or {}, f"{where}.args", path)
    if is_import_path(path := value.get("object")) and len(value) == 1:
        return import_object(path, f"{where}.object")
    return {key: _value(item, f"{where}.{key}") for key, item in value.items()}


def _unfit(target: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> tuple[str, str] | None:
    """Why arguments do not fit a signature, and its parameters; ``None`` if they do."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        return str(error), ", ".join(signature.parameters)
    return None


def _check_modules(target: Callable[..., Any], named: dict[str, Any], where: str) -> None:
    """Refuse a string for a parameter that is a module by its annotation."""
    try:
        hints = typing.get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
    except Exception:  # annotations may name what is only imported for type checkers
        return
    for name, value in named.items():
        hint = hints.get(name)
        if isinstance(value, str) and isinstance(hint, type) and issubclass(hint, nn.Module):
            raise ConfigError.at(
                f"{where}.{name}",
                f"must be a module ({hint.__name__}), not a string",
                value=value,
                remedy=f"write {name}: {{class: {value}, args: {{…}}}}",
            )


def _is_package(module: ModuleType) -> bool:
    return hasattr(module, "__path__")
