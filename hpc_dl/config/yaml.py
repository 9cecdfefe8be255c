"""Safe reading and writing of YAML 1.2.

``1e-3`` is a number; ``12:30:00`` and ``no`` are strings. A duplicate key is an error.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode, SequenceNode

from hpc_dl.errors import ConfigError
from hpc_dl.regular_files import DamagedFile, read_bytes

# An experiment takes some hundred values; a list of 10,000 class names is still possible.
_MOST_CHARACTERS = 256 << 10
_MOST_VALUES = 100_000
_MOST_DIGITS = 100
_UNKNOWN = -1


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # keep the order of the sections
    yaml.width = 120
    return yaml


def loads(text: str, where: str) -> Any:
    """Parse YAML text.

    Args:
        text: the document.
        where: a file path or other name of the text, for error messages.

    Raises:
        ConfigError: the text is not valid YAML, has a duplicate key, or has an alias inside the
            node that it refers to. The message has the line and column.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError.at(
            where, "is too long", value=f"{len(text)} characters", allowed=f"up to {_MOST_CHARACTERS} characters"
        )
    try:
        # Before it becomes data: merging mappings (<<) writes the aliases out.
        _check_size(_yaml().compose(text), where)
        return _yaml().load(text)
    except RecursionError:
        raise ConfigError.at(
            where, "not valid YAML: an alias (*name) that contains itself, or too many levels"
        ) from None
    except DuplicateKeyError as error:
        mark = error.problem_mark
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = str(error.problem).split(" with value")[0].removeprefix("found ")
        raise ConfigError.at(place, problem, remedy="keep one of the two") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        raise ConfigError.at(place, f"not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:
        raise ConfigError.at(where, f"not valid YAML: {error}") from None


def load(path: Path) -> Any:
    """Parse a YAML file.

    Raises:
        ConfigError: the file is missing, unreadable, or not valid YAML.
    """
    return loads(text_of(path), str(path))


def text_of(path: Path) -> str:
    """Return the text of a YAML file of a size that can be one.

    Raises:
        ConfigError: the file is missing, unreadable, not UTF-8, or too large.
    """
    try:
        return read_bytes(path, _MOST_CHARACTERS).decode("utf-8")
    except DamagedFile as error:
        if path.is_dir():
            raise ConfigError.at(path, "is a folder", remedy="specify the YAML file in it") from None
        raise ConfigError(error.faults[0]) from None
    except FileNotFoundError:
        raise ConfigError.at(path, "does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError.at(path, "is not a text file in UTF-8", remedy="specify a YAML file") from None
    except OSError as error:
        raise ConfigError.at(path, f"cannot be read: {error.strerror}") from None


def _check_size(root: Node | None, where: str) -> None:
    """Count all values as if every alias were written out; refuse what no experiment needs.

    Raises:
        ConfigError: there are too many, or a text holds a NUL character.
        RecursionError: an alias is inside the node that it refers to.
    """
    counts: dict[int, int] = {}

    def count(node: Node) -> int:
        if isinstance(node, ScalarNode):
            if "\0" in node.value:
                raise ConfigError.at(where, "contains a NUL character", value=node.value, remedy="remove it")
            if len(node.value) > _MOST_DIGITS and str(node.tag).endswith(":int"):
                raise ConfigError.at(where, f"has a number of {len(node.value)} digits", value=node.value)
            return 1
        if id(node) not in counts:  # each alias is the same object
            counts[id(node)] = _UNKNOWN
            parts = node.value if isinstance(node, SequenceNode) else [part for pair in node.value for part in pair]
            counts[id(node)] = 1 + sum(map(count, parts))
        elif counts[id(node)] == _UNKNOWN:
            raise RecursionError
        return counts[id(node)]

    if root is not None and (num_values := count(root)) > _MOST_VALUES:
        raise ConfigError.at(
            where,
            "has too many values once its aliases (*name) are written out",
            value=num_values,
            allowed=f"up to {_MOST_VALUES}",
        )


def dumps(data: Any) -> str:
    """Return data as YAML text; :func:`loads` restores the same data."""
    if not isinstance(data, dict) or not data:
        return _dumped(data)
    # Most sections of the runs of a sweep are the same, and writing them takes long.
    return "".join(_dumped_section(_AsWritten({key: value})) for key, value in data.items())


class _AsWritten:
    """Data as the key of a cache: equal if it looks the same as text (``1`` and ``1.0`` do not)."""

    def __init__(self, data: Any) -> None:
        self.data, self.text = data, repr(data)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AsWritten) and self.text == other.text


@functools.lru_cache(maxsize=1024)
def _dumped_section(section: _AsWritten) -> str:
    return _dumped(section.data)


def _dumped(data: Any) -> str:
    buffer = io.StringIO()
    _yaml().dump(data, buffer)
    return buffer.getvalue()
