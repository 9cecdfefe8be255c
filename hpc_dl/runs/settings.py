"""The settings in which runs differ, so that a table can distinguish them; free of torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError
from hpc_dl.runs.folder import RunFolder

# Sections that do not affect what is learned, and the first part of the run's own name.
_IRRELEVANT = ("name", "resources.", "wandb.", "checkpoint.every", "data.stage")
_LONG = {"data.file": "/", "model.init_from": "/", "model": "."}  # shown by their last part


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that all of these runs have, and that are not the same in all.

    Args:
        settings: those of each run; runs whose configuration cannot be read are not compared.

    Returns:
        The dotted keys, in the order of the configuration.
    """
    readable = [values for values in settings if values]
    if len(readable) < 2:
        return []
    first, *others = readable
    different = []
    for key, value in first.items():
        if is_irrelevant(key):
            continue
        with suppress(KeyError):  # one of the others has no such setting
            if list(map(itemgetter(key), others)).count(value) < len(others):
                different.append(key)
    return different


def is_irrelevant(key: str) -> bool:
    """Whether a setting does not affect what is learned."""
    return key.startswith(_IRRELEVANT)


def shown(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings as tables show them: files and classes by the last part of their name.

    Where that would make two different ones look the same, they stay complete.

    Args:
        settings: those of each run.
    """
    short: dict[str, dict[str, str]] = {}
    for key, separator in _LONG.items():
        values = {value for of_run in settings if isinstance(value := of_run.get(key), str)}
        last = {value: value.rpartition(separator)[2] for value in values}
        short[key] = last if len(set(last.values())) == len(values) else {}
    return [
        {**of_run, **{key: names.get(of_run[key], of_run[key]) for key, names in short.items() if key in of_run}}
        for of_run in settings
    ]


def settings_of(run: RunFolder) -> dict[str, Any]:
    """Return a run's configuration by dotted keys; empty if it cannot be read.

    ``model`` is the architecture, or the user's class.
    """
    try:
        text = yaml.text_of(run.config)
        # Section by section: most sections of two runs are the same, and parsing takes long.
        sections = [_parsed(section) for section in re.split(r"(?m)^(?=[\w\"'])", text) if section.strip()]
    except ConfigError:
        return {}
    raw: dict[str, Any] = {}
    for section in sections:
        if not isinstance(section, Mapping) or raw.keys() & section.keys():
            return {}
        raw |= section
    return settings_in(raw)


def settings_in(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete configuration by dotted keys, as :func:`settings_of`; empty for any other.

    Args:
        raw: as in ``config.yaml``.
    """
    flat = dict(flattened(raw))
    if "seed" not in flat:  # every complete configuration has one
        return {}
    model = flat.pop("model.name", None) or flat.pop("model.class", None)
    return {"model": model, **flat} if model else flat


@functools.lru_cache(maxsize=4096)
def _parsed(section: str) -> Any:
    return yaml.loads(section, "config.yaml")


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration by their dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
