"""The members of a sweep: one run for each point and seed, recognized by a signature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpc_dl.config import overrides
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.points import Point, described, points_of

# What does not change what is learned: names, paths, tracking, and what a job requests in time.
_SECTIONS_NOT_SIGNED = ("name", "wandb")
_KEYS_NOT_SIGNED = {
    "data": ("file", "source", "stage"),
    "resources": ("time", "memory", "on_oom"),
    "trainer": ("figures",),
}
_MOST_FAULTS = 10


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        point: the settings that differ from the experiment, by their dotted keys.
        seed: the seed of the run.
        experiment: the complete experiment.
        trial: number of the point in the study that chooses it, when its task starts.
    """

    point: Point
    seed: int
    experiment: Experiment
    trial: int | None = None

    def signature(self, data_checksum: str, code_digest: str, study: str = "") -> str:
        """Return what identifies the run's result, 64 hexadecimal digits.

        Args:
            data_checksum: checksum of the data set.
            code_digest: digest of the user's own code; "" if there is none.
            study: name of the study that chooses the point.
        """
        if study:
            return hashlib.sha256(json.dumps([study, self.trial, self.seed]).encode()).hexdigest()
        content = self.experiment.to_dict()
        for name in _SECTIONS_NOT_SIGNED:
            del content[name]
        for name, keys in _KEYS_NOT_SIGNED.items():
            content[name] = {key: value for key, value in (content[name] or {}).items() if key not in keys}
        text = json.dumps([content, data_checksum, code_digest], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def is_signed(key: str) -> bool:
    """Whether a setting is part of a member's signature.

    Args:
        key: its dotted key.
    """
    section, _, rest = key.partition(".")
    return section not in _SECTIONS_NOT_SIGNED and rest.partition(".")[0] not in _KEYS_NOT_SIGNED.get(section, ())


def members_of(raw: Mapping[str, Any], name: str, sweep: SweepConfig) -> list[Member]:
    """Return the members of a sweep: all seeds of a point, then the next point.

    Args:
        raw: the parsed YAML of the experiment, without its ``sweep`` section.
        name: the name of an experiment that does not give one.
        sweep: the section.

    Raises:
        ConfigError: a member is not a valid experiment; the message names its settings.
    """
    base = Experiment.from_dict(raw, default_name=name)
    members: list[Member] = []
    by_mistake: dict[str, Fault] = {}  # the same one of many members is reported once
    for point in points_of(sweep, base.to_dict()):
        try:
            experiment = Experiment.from_dict(overrides.assigned(raw, point), default_name=name)
        except ConfigError as error:
            for fault in error.faults:
                by_mistake.setdefault(str(fault), replace(fault, where=f"{fault.where} (with {described(point)})"))
            continue
        # Thousands of pictures would say little; `hpc-dl figures` draws those of one member.
        experiment = replace(experiment, trainer=experiment.trainer.model_copy(update={"figures": False}))
        members += [
            Member(point, seed, replace(experiment, seed=seed)) for seed in range(base.seed, base.seed + sweep.repeats)
        ]
    if faults := list(by_mistake.values()):
        more = len(faults) - _MOST_FAULTS
        if more > 0:
            faults[_MOST_FAULTS:] = [Fault("sweep", f"{more} more members are invalid")]
        raise ConfigError(*faults)
    return members
