"""The YAML file of an experiment and the overrides, before its sections are parsed.

Free of torch, so that a wrong path or a YAML mistake is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hpc_dl import shipped
from hpc_dl.config import yaml
from hpc_dl.config.overrides import apply
from hpc_dl.errors import ConfigError, nearest


def read(
    path: Path, overrides: Iterable[str] = (), say: Callable[[str], None] = lambda message: None
) -> tuple[Any, str]:
    """Read an experiment's YAML file and apply overrides.

    Args:
        path: the file, or the name of an example experiment that comes with hpc_dl.
        overrides: ``key=value`` arguments.
        say: called with messages for the user, one line each.

    Returns:
        The content, and the name of an experiment that does not give one.

    Raises:
        ConfigError: the file does not exist or is not valid YAML, or an override is invalid.
    """
    path = _find(path)
    return apply(yaml.load(path), overrides, say), path.stem


def _find(path: Path) -> Path:
    """A file at that path takes precedence over the example experiment of that name.

    Raises:
        ConfigError: there is neither.
    """
    examples = shipped.experiments()
    if path.exists() or path.name != str(path):
        return path
    if path.stem in examples and path.suffix in ("", ".yaml"):
        return examples[path.stem]
    if path.suffix == "":
        raise ConfigError.at(
            path, "does not exist, and no example experiment has this name", remedy=nearest(path.name, examples)
        )
    return path
