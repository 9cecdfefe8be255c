"""Reading and writing YAML 1.2: safe, strict about doubled keys, ``1e-3`` a number, ``12:30:00``
and ``no`` words.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpc_dl.errors import ConfigError


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
        where: what the text is, for the error (a file's path, an override).

    Raises:
        ConfigError: not valid YAML, a key given twice, or an alias inside of what it names; names
            line and column.
    """
    try:
        data = _yaml().load(text)
        _walk(data)
        return data
    except RecursionError:
        raise ConfigError.at(
            where, "not valid YAML: an alias (*name) that holds itself, or too deep a nesting"
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
        ConfigError: the file is missing or unreadable, or not valid YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError.at(path, "no such file") from None
    except IsADirectoryError:
        raise ConfigError.at(path, "is a folder", remedy="name the YAML file in it") from None
    except UnicodeDecodeError:
        raise ConfigError.at(path, "not a text file in UTF-8", remedy="name a YAML file") from None
    except OSError as error:
        raise ConfigError.at(path, f"cannot be read: {error.strerror}") from None
    return loads(text, str(path))


def _walk(data: Any) -> None:
    """Visit everything; does not come back from data that hold themselves."""
    if isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            _walk(item)


def dumps(data: Any) -> str:
    """Write data as YAML that :func:`loads` reads back to the same data."""
    buffer = io.StringIO()
    _yaml().dump(data, buffer)
    return buffer.getvalue()
