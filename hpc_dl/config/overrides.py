"""Overrides: ``key=value`` arguments of the command line that replace values of the YAML file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError, Fault

# Keys that select what a section describes, and with it which other keys are valid.
_SELECTORS = ("name", "class")


def apply(raw: Any, overrides: Iterable[str], say: Callable[[str], None] = lambda message: None) -> Any:
    """Return a copy of ``raw`` in which each ``dotted.key=value`` is set.

    Values are parsed as YAML. An override that selects another ``model.name`` (or ``model.class``,
    ``optimizer.name``, ``schedule.name``) drops the other keys of that section in the file, since
    they belong to the previous selection; overrides stay, in any order.

    Args:
        raw: the parsed YAML file.
        overrides: the arguments.
        say: called with a message for the user when keys are dropped.

    Raises:
        ConfigError: an argument has no ``=`` or an empty key, or its path leads through a value
            that is not a mapping.
    """
    faults: list[Fault] = []
    result = _copy(raw if raw is not None else {})
    given: set[str] = set()
    dropped: dict[str, list[str]] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            faults.append(Fault(override, "is not an override", allowed="key=value, for example optimizer.lr=1e-3"))
            continue
        path = key.split(".")
        chosen_before = any(f"{path[0]}.{selector}" in given for selector in _SELECTORS)
        try:
            value = yaml.loads(text, f"override {override}")
            dropped[override] = _set(result, path, value, kept=() if chosen_before else given)
        except ConfigError as error:
            faults.extend(error.faults)
        given.add(".".join(path[:2]))
    if faults:
        raise ConfigError(*faults)
    for override, keys in dropped.items():
        if lost := [key for key in keys if key not in given]:
            say(f"hpc-dl: {override}: {', '.join(lost)} of the file were for another choice and are not used")
    return result


def assigned(raw: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of ``raw`` in which each dotted key has its value.

    As with :func:`apply`, a key that selects what a section describes comes first and drops the
    other keys of that section.

    Args:
        raw: the parsed YAML file.
        values: parsed values by their dotted keys.

    Raises:
        ConfigError: a path leads through a value that is not a mapping.
    """
    result = _copy(raw if raw is not None else {})
    for key in sorted(values, key=lambda key: key.rpartition(".")[2] not in _SELECTORS):
        _set(result, key.split("."), values[key])
    return result


def _set(root: Any, path: list[str], value: Any, kept: Collection[str] = ()) -> list[str]:
    """Set a value in place and return the dotted paths of the keys that were dropped for it.

    Args:
        root: the configuration.
        path: the parts of the key.
        value: its value.
        kept: dotted paths of keys that are not dropped.
    """
    node = root
    dropped: list[str] = []
    for depth, key in enumerate(path):
        if not isinstance(node, dict):
            raise ConfigError.at(".".join(path), f"{'.'.join(path[:depth])} is not a section", value=node)
        if depth == len(path) - 1:
            selector = next((name for name in _SELECTORS if name in node), None)
            if key in _SELECTORS and len(path) == 2 and selector and (selector, node[selector]) != (key, value):
                others = [other for other in node if other in _SELECTORS or f"{path[0]}.{other}" not in kept]
                dropped = [f"{path[0]}.{other}" for other in others if other not in _SELECTORS]
                for other in others:
                    del node[other]
            node[key] = value
        else:
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
    return dropped


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
