"""The description of a run for W&B, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError
from hpc_dl.regular_files import read_bytes, read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import goodput_of
from hpc_dl.runs.state import read_state
from hpc_dl.schema import parse
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_description import Description
from hpc_dl.tracking.wandb_outbox import to_json
from hpc_dl.tracking.wandb_rows import LOGGED

_MOST_BYTES = 64 << 20
_OF_RESULT = ("epochs", "steps", "seconds", "parameters", "world_size", "device")


def describe(run: RunFolder) -> Description:
    """Describe a run, as far as its folder knows it.

    Its name in W&B is that of the run folder and its seed, so that seeds of one experiment differ.

    Raises:
        ConfigError: the run's configuration is damaged.
        OSError: a file cannot be read.
    """
    config = yaml.load(run.config)
    if not isinstance(config, dict):
        raise ConfigError.at(run.config, "must be a mapping of keys to values")
    section = parse(WandbConfig, config.get("wandb") or {}, "wandb")
    provenance = _mapping(run.provenance)
    result = _mapping(run.result)
    started = [event for event in attempts.history(run) if event["event"] == "started"]
    facts: dict[str, Any] = {
        "run": str(run.path),
        "host": provenance.get("host"),
        "command": provenance.get("command"),
        "commit": _commit(provenance.get("git")),
        "data": _inner(provenance, "data").get("checksum"),
        "hpc_dl": provenance.get("hpc_dl"),
        "python": provenance.get("python"),
    }
    if started:
        last = {key: value for key, value in started[-1].items() if key not in ("event", "time")}
        facts |= {"attempts": len(started), **last}
    own = _settings_of_user(run)
    return Description(
        name=f"{run.name} (seed {config.get('seed')})",
        project=section.project,
        entity=section.entity,
        group=section.group or config.get("name"),
        tags=section.tags,
        config=_strict(
            {
                **config,
                "hpc_dl": {name: value for name, value in facts.items() if value is not None},
                **own["config"],
            }
        ),
        summary=_strict({**own["summary"], **_summary(result, facts), **_goodput(run)}),
        commit=facts["commit"],
        started=_time(started[0].get("time")) if started else 0.0,
    )


def _summary(result: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: result[name] for name in _OF_RESULT if name in result}
    if "parameters" in facts:
        values.setdefault("parameters", facts["parameters"])
    if isinstance(diagnosis := result.get("diagnosis"), dict):
        values["diagnosis"] = {name: value for name, value in diagnosis.items() if value is not None}
    if isinstance(baseline := result.get("baseline"), dict):
        values["baseline"] = baseline
    return {**values, **_inner(result, "metrics")}


def _goodput(run: RunFolder) -> dict[str, float]:
    """The share of the time that advanced the training; each upload has the newest value."""
    found = goodput_of(run, is_running=read_state(run)["state"] == "running")
    return {} if found is None else {"goodput": round(found.share, 4)}


def _inner(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}


def _strict(values: Any) -> Any:
    """Values as W&B has them: JSON has no infinities, and no dates."""
    if isinstance(values, dict):
        return {str(name): _strict(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_strict(value) for value in values]
    return to_json(values) if values is None or isinstance(values, (bool, int, float, str)) else str(values)


def _mapping(path: Any) -> dict[str, Any]:
    """The content of a JSON file; empty if it is absent or damaged, which W&B need not know."""
    with suppress(ValueError, OSError):
        content = read_json(path)
        return content if isinstance(content, dict) else {}
    return {}


def _commit(git: Any) -> str | None:
    """The first commit in what the provenance says about the code."""
    if isinstance(git, dict):
        if isinstance(git.get("commit"), str):
            return str(git["commit"])
        git = list(git.values())
    if isinstance(git, list):
        return next((commit for item in git if (commit := _commit(item))), None)
    return None


def _settings_of_user(run: RunFolder) -> dict[str, dict[str, Any]]:
    """What the user's code has set in ``wandb.config`` and ``wandb.summary``."""
    settings: dict[str, dict[str, Any]] = {"config": {}, "summary": {}}
    with suppress(OSError, ValueError):
        for line in read_bytes(run.path / LOGGED / "settings.jsonl", _MOST_BYTES).splitlines():
            with suppress(ValueError, TypeError, AttributeError, KeyError):  # a damaged line
                for what, values in json.loads(line).items():
                    settings[what].update(values)
    return settings


def _time(text: Any) -> float:
    with suppress(ValueError, TypeError):
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()
    return 0.0
