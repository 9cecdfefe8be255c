"""``key=value`` words of the command line, laid over what the YAML file says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError, Fault

# The key that decides which other keys a section has.
_CHOOSING = ("name", "class")


def apply(raw: Any, overrides: Iterable[str], say: Callable[[str], None] = lambda told: None) -> Any:
    """Return a copy of ``raw`` with each ``dotted.key=value`` set; values are parsed as YAML.

    Setting ``model.name`` (or ``model.class``, ``optimizer.name``, ``schedule.name``) to another
    one drops that section's other keys, which belong to the old one, and says so.

    Args:
        raw: what the file says.
        overrides: the words.
        say: tells the user one line.

    Raises:
        ConfigError: a word without ``=``, an empty key, or a path through something that is not a
            mapping.
    """
    faults: list[Fault] = []
    result = _copy(raw if raw is not None else {})
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not all(key.split(".")):
            faults.append(Fault(word, "is not an override", allowed="key=value, for example optimizer.lr=1e-3"))
            continue
        try:
            if dropped := _set(result, key.split("."), yaml.loads(text, f"override {word}")):
                say(f"hpc-dl: {word}: the file's {dropped} belong to another one, and are left out")
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(*faults)
    return result


def _set(root: Any, path: list[str], value: Any) -> str:
    """Set a value; which keys were dropped for it."""
    node, dropped = root, ""
    for depth, key in enumerate(path):
        if not isinstance(node, dict):
            raise ConfigError.at(".".join(path), f"{'.'.join(path[:depth])} is not a section", value=node)
        if depth == len(path) - 1:
            chosen = next((known for known in _CHOOSING if known in node), None)
            if key in _CHOOSING and len(path) == 2 and chosen is not None and (chosen, node[chosen]) != (key, value):
                section = path[0]
                dropped = ", ".join(f"{section}.{other}" for other in node if other not in _CHOOSING)
                node.clear()
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
