"""The settings in which runs differ, so that a table can distinguish them; free of torch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError
from hpc_dl.runs.folder import RunFolder

# Sections that do not affect what is learned, and the first part of the run's own name.
_IRRELEVANT = ("name", "resources.", "wandb.", "checkpoint.every")
_PATHS = ("data.file", "model.init_from")  # shown by the name of the file


def differing_settings(runs: Sequence[RunFolder]) -> dict[str, list[Any]]:
    """Return the settings that all of these runs have, and that are not the same in all.

    Args:
        runs: the runs.

    Returns:
        The value of each run, by the dotted key of the setting, in the order of the configuration.
        Runs whose configuration cannot be read are not compared; they have ``None``.
    """
    settings = [settings_of(run) for run in runs]
    readable = [values for values in settings if values]
    if len(readable) < 2:
        return {}
    shared = [key for key in readable[0] if all(key in values for values in readable)]
    differing = [
        key
        for key in shared
        if not key.startswith(_IRRELEVANT) and any(values[key] != readable[0][key] for values in readable)
    ]
    return {key: [values.get(key) for values in settings] for key in differing}


def settings_of(run: RunFolder) -> dict[str, Any]:
    """Return a run's configuration by dotted keys; empty if it cannot be read.

    ``model`` is the architecture, or the name of the user's class.
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
    flat = dict(_flattened(raw))
    if "seed" not in flat:  # every complete configuration has one
        return {}
    model = flat.pop("model.name", None) or str(flat.pop("model.class", "")).rpartition(".")[2]
    if model:
        flat = {"model": model, **flat}
    return {key: Path(str(value)).name if key in _PATHS and value else value for key, value in flat.items()}


@functools.lru_cache(maxsize=4096)
def _parsed(section: str) -> Any:
    return yaml.loads(section, "config.yaml")


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
