"""The YAML file of a chain: named steps, each of which may use the models of those above it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError, Fault, HpcDlError, nearest
from hpc_dl.schema import Section, parse

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")  # becomes part of the names of runs
_NAME_RULE = "up to 30 letters, digits, _ and -, the first a letter or digit"
INIT_FROM = "model.init_from"


class TrainStep(Section):
    """A training."""

    train: str
    """YAML file of the experiment, relative to that of the chain, or the name of a shipped one."""
    set: dict[str, Any] = {}
    """Values that replace those in the YAML, by their dotted keys. ``model.init_from:
    "@STEP"`` starts from the best weights of a step above."""
    after: list[str] = []
    """Further steps above that must finish first."""


class EvaluateStep(Section):
    """The metrics of a step's best weights on a split of its data."""

    evaluate: str
    """The step that trains the model."""
    split: str = "test"
    """``train``, ``val`` or ``test``."""
    resources: dict[str, Any] = {}
    """Changes to the resources of that step; one device is used."""
    after: list[str] = []
    """Further steps above that must finish first."""


class ExportStep(Section):
    """A step's best model as an ONNX file."""

    export: str
    """The step that trains the model."""
    out: str
    """The file, relative to the current folder."""
    force: bool = False
    """Whether an existing file is replaced."""
    resources: dict[str, Any] = {}
    """Changes to the resources of that step; one device is used."""
    after: list[str] = []
    """Further steps above that must finish first."""


Step = TrainStep | EvaluateStep | ExportStep
_KINDS: dict[str, type[TrainStep] | type[EvaluateStep] | type[ExportStep]] = {
    "train": TrainStep, "evaluate": EvaluateStep, "export": ExportStep
}  # fmt: skip


class ChainConfig(Section):
    """A chain of runs."""

    name: str
    """First part of the names of its runs; by default the name of the file."""
    steps: dict[str, Step]
    """The steps by name, in order."""


def read(path: Path) -> ChainConfig:
    """Read the YAML file of a chain.

    Raises:
        ConfigError: with all faults of the file; those of its experiments are found later.
    """
    raw = yaml.load(path)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("steps"), Mapping) or not raw["steps"]:
        raise ConfigError.at(path, "is not a chain", allowed="a mapping with `steps`, see docs/how-to/chains.md")
    faults = [
        Fault(str(key), "unknown key", allowed="name, steps", remedy=nearest(str(key), ("name", "steps")))
        for key in raw
        if key not in ("name", "steps")
    ]
    name = raw.get("name", path.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(Fault("name", "cannot be part of a run's name", value=name, allowed=_NAME_RULE))
    steps: dict[str, Step] = {}
    for step_name, content in raw["steps"].items():
        try:
            steps[str(step_name)] = _step(str(step_name), content, steps)
        except HpcDlError as error:
            faults += error.faults
    if faults:
        raise ConfigError(*faults)
    return ChainConfig.model_construct(name=name, steps=steps)


def model_of(step: Step) -> str | None:
    """Return the name of the step whose weights a step uses; ``None`` for fresh ones."""
    if isinstance(step, TrainStep):
        source = step.set.get(INIT_FROM)
        return source[1:] if isinstance(source, str) and source.startswith("@") else None
    return (step.evaluate if isinstance(step, EvaluateStep) else step.export).removeprefix("@")


def earlier(step: Step) -> list[str]:
    """Return the names of the steps that must finish before a step starts."""
    model = model_of(step)
    return list(dict.fromkeys([*([model] if model else []), *step.after]))


def _step(name: str, content: object, above: Mapping[str, Step]) -> Step:
    where = f"steps.{name}"
    if not _NAME.fullmatch(name):
        raise ConfigError.at(where, "cannot be part of a run's name", allowed=_NAME_RULE)
    given = [kind for kind in _KINDS if isinstance(content, Mapping) and kind in content]
    if len(given) != 1:
        raise ConfigError.at(where, f"needs exactly one of {', '.join(_KINDS)}", value=content)
    step = parse(_KINDS[given[0]], content, where)
    faults = [
        Fault(where, "refers to no step above it", value=other, allowed=", ".join(above) or "none: it is the first")
        for other in earlier(step)
        if other not in above
    ]
    model = model_of(step)
    if model is not None and model in above and not isinstance(above[model], TrainStep):
        faults.append(Fault(where, "uses the model of a step that trains none", value=model))
    if faults:
        raise ConfigError(*faults)
    return step
