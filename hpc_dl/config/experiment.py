"""The experiment of a YAML file: all sections, parsed strictly; all faults are reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from hpc_dl import models
from hpc_dl.config import experiment_file
from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.config.resources import Resources
from hpc_dl.config.trainer import TrainerConfig
from hpc_dl.data.config import DEFAULT_BATCH_SIZE, DataConfig
from hpc_dl.data.own_data_config import OwnLoadersConfig, data_section
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.optimizers import OPTIMIZERS, OptimizerConfig
from hpc_dl.learning.schedules import SCHEDULES, ScheduleConfig
from hpc_dl.models.base import ModelSection
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.models.network import NetworkModelConfig
from hpc_dl.schema import Section, parse, parse_named, unknown_key
from hpc_dl.tracking.wandb_config import WandbConfig

LONGEST_NAME = 80
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a training and its resources, as parsed from YAML.

    What depends on the cluster (partition, account, folders) is in a site profile instead.
    """

    name: str
    seed: int
    data: DataConfig
    model: ModelSection
    loss: LossConfig
    metrics: tuple[str, ...] | None
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    checkpoint: CheckpointConfig
    resources: Resources
    wandb: WandbConfig

    @classmethod
    def load(cls, path: str | Path, *overrides: str, say: Callable[[str], None] = lambda message: None) -> Self:
        """Load a YAML file and apply overrides.

        Args:
            path: the file, or the name of an example experiment that comes with hpc_dl.
            overrides: ``key=value`` arguments.
            say: called with messages for the user, one line each.

        Raises:
            ConfigError: with all faults, each at its dotted path.
        """
        raw, name = experiment_file.read(Path(path), overrides, say)
        experiment = cls.from_dict(raw, default_name=name)
        if faults := _without_effect(raw):
            raise ConfigError(*faults)
        return experiment

    @classmethod
    def from_dict(cls, raw: Any, default_name: str | None = None) -> Self:
        """Build the experiment from the parsed mapping of a YAML file.

        Args:
            raw: the mapping; its section ``sweep`` is for ``hpc_dl.sweeps``.
            default_name: the name of an experiment that does not give one.

        Raises:
            ConfigError: with all faults, each at its dotted path.
        """
        if not isinstance(raw, Mapping):
            raise ConfigError.at(
                "the experiment", "must be a mapping of sections", value=raw, allowed=", ".join(_PARSERS)
            )
        unknown = [str(key) for key in raw if key not in _PARSERS and key != "sweep"]
        faults: list[Fault] = [unknown_key("", key, _PARSERS) for key in unknown]
        sections: dict[str, Any] = {}
        for key, parser in _PARSERS.items():
            value = raw.get(key)
            if key == "name" and value is None:
                value = default_name
            try:
                sections[key] = parser(raw if key == "data" else value)
            except ConfigError as error:
                faults.extend(error.faults)
        faults.extend(_impossible_combinations(sections))
        if faults:
            raise ConfigError(*faults)
        return cls(**sections)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with all defaults; :meth:`from_dict` restores the experiment."""
        plain: dict[str, Any] = {}
        for key in _PARSERS:
            value = getattr(self, key)
            plain[key] = value.model_dump(mode="json", by_alias=True) if isinstance(value, Section) else value
        if isinstance(self.data, OwnLoadersConfig):
            own = self.data.model_dump(mode="json", by_alias=True, include={"class_path", "args"})
            plain["data"] = own or None
        plain["metrics"] = None if self.metrics is None else list(self.metrics)
        if isinstance(self.model, (CustomModelConfig, NetworkModelConfig)):
            del plain["model"]["name"]
        return plain

    def with_steps_only(self, steps: int, suffix: str, **trainer: Any) -> Self:
        """Return the experiment for a measurement: training steps only, no W&B and no figures.

        Args:
            steps: optimizer steps.
            suffix: of its name.
            trainer: other settings of the trainer.
        """
        changes = {
            "max_epochs": None,
            "max_steps": steps,
            "limit_val_batches": 0,
            "limit_test_batches": 0,
            "early_stopping": None,
            "figures": False,
        }
        return replace(
            self,
            name=f"{self.name[: LONGEST_NAME - len(suffix) - 1]}-{suffix}",
            trainer=self.trainer.model_copy(update=changes | trainer),
            checkpoint=CheckpointConfig(),
            wandb=WandbConfig(mode="disabled"),
        )

    @property
    def batch_size_per_device(self) -> int:
        """The number of samples in a batch on each device."""
        if self.data.global_batch_size is not None:
            return self.data.global_batch_size // self.resources.world_size
        return self.data.batch_size or DEFAULT_BATCH_SIZE


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ConfigError.at(
            "name",
            "cannot be used as a folder name",
            value=value,
            allowed=f"at most {LONGEST_NAME} letters, digits, '.', '_' and '-', starting with a letter or digit",
        )
    return value


def _seed(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        raise ConfigError.at("seed", "must be an integer", value=value, allowed=f"0 to {2**32 - 1}")
    return value


def _model(value: object) -> ModelSection:
    if isinstance(value, Mapping) and "class" in value:
        return parse(CustomModelConfig, value, "model")
    if isinstance(value, Mapping) and "network" in value:
        return parse(NetworkModelConfig, value, "model")
    if isinstance(value, Mapping) and value.get("name") in models.names():
        name = str(value["name"])
        return parse(models.config_class(name), value, "model")
    # The name is missing or unknown. The message needs the names of all architectures, but not
    # their modules, so that any class serves as a placeholder.
    known: dict[str, type[ModelSection]] = dict.fromkeys(models.names(), CustomModelConfig)
    return parse_named(known, value if value is not None else {}, "model")


def _metrics(value: object) -> tuple[str, ...] | None:
    """Parse the list of metric names; the preflight checks that they fit the task."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError.at(
            "metrics", "must be a list of names", value=value, remedy="omit it for the task's default metrics"
        )
    return tuple(dict.fromkeys(value))


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "seed": _seed,
    "data": data_section,  # gets the whole mapping
    "model": _model,
    "loss": lambda value: parse(LossConfig, value, "loss"),
    "metrics": _metrics,
    "optimizer": lambda value: parse_named(OPTIMIZERS, value, "optimizer", default="adam"),
    "schedule": lambda value: parse_named(SCHEDULES, value, "schedule", default="constant"),
    "trainer": lambda value: parse(TrainerConfig, value, "trainer"),
    "checkpoint": lambda value: parse(CheckpointConfig, value, "checkpoint"),
    "resources": lambda value: parse(Resources, value, "resources"),
    "wandb": lambda value: parse(WandbConfig, value, "wandb"),
}


def _without_effect(raw: Mapping[str, Any]) -> list[Fault]:
    """Sections that a user's LightningModule ignores, since it has its own."""
    model = raw.get("model")
    if not isinstance(model, Mapping) or "class" not in model:
        return []
    return [
        Fault(
            key,
            f"has no effect on {model['class']}, a LightningModule with its own {key}",
            value=raw[key],
            remedy="remove it; the module gets its values from model.args",
        )
        for key in ("loss", "metrics", "optimizer", "schedule")
        if raw.get(key)
    ]


def _impossible_combinations(sections: Mapping[str, Any]) -> list[Fault]:
    """Return the faults that involve several sections; invalid sections are skipped."""
    faults: list[Fault] = []
    data: DataConfig | None = sections.get("data")
    resources: Resources | None = sections.get("resources")
    trainer: TrainerConfig | None = sections.get("trainer")
    if data and resources and data.global_batch_size and data.global_batch_size % resources.world_size:
        faults.append(
            Fault(
                "data.global_batch_size",
                f"cannot be divided evenly among {resources.world_size} ranks (resources: {resources.nodes} nodes × "
                f"{resources.ranks_per_node})",
                value=data.global_batch_size,
                allowed=f"a multiple of {resources.world_size}",
            )
        )
    loss: LossConfig | None = sections.get("loss")
    if data and loss and data.balance != "none" and loss.class_weights == "balanced":
        faults.append(
            Fault(
                "loss.class_weights",
                f"has no effect where data.balance={data.balance} makes all classes equally frequent",
                value="balanced",
                remedy="keep one of the two",
            )
        )
    if trainer and resources and trainer.accelerator == "gpu" and resources.gpus_per_node == 0:
        faults.append(
            Fault(
                "trainer.accelerator",
                "needs a GPU, but resources.gpus_per_node is 0",
                value="gpu",
                allowed="auto, cpu",
                remedy="request GPUs with resources.gpus_per_node",
            )
        )
    return faults
