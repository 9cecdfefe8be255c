"""Safe reading and writing of YAML 1.2.

``1e-3`` is a number; ``12:30:00`` and ``no`` are strings. A duplicate key is an error.
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
        where: a file path or other name of the text, for error messages.

    Raises:
        ConfigError: the text is not valid YAML, has a duplicate key, or has an alias inside the
            node that it refers to. The message has the line and column.
    """
    try:
        data = _yaml().load(text)
        _check_is_finite(data)
        return data
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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError.at(path, "does not exist") from None
    except IsADirectoryError:
        raise ConfigError.at(path, "is a folder", remedy="specify the YAML file in it") from None
    except UnicodeDecodeError:
        raise ConfigError.at(path, "is not a text file in UTF-8", remedy="specify a YAML file") from None
    except OSError as error:
        raise ConfigError.at(path, f"cannot be read: {error.strerror}") from None
    return loads(text, str(path))


def _check_is_finite(data: Any) -> None:
    """Visit all nodes; raise RecursionError if data contain themselves."""
    if isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            _check_is_finite(item)


def dumps(data: Any) -> str:
    """Return data as YAML text; :func:`loads` restores the same data."""
    buffer = io.StringIO()
    _yaml().dump(data, buffer)
    return buffer.getvalue()
