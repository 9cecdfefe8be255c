"""The metrics that a training logs, and faults in the settings that monitor one of them."""

from __future__ import annotations

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.schedules import Plateau
from hpc_dl.learning.task import Task
from hpc_dl.models.custom import CustomModelConfig


def monitor_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    """Return faults: monitored metrics that are not computed, or that have no known direction."""
    has_validation = "val" in data.sizes and bool(experiment.trainer.limit_val_batches)
    if data.file and not has_validation and (faults := _validation_needed_faults(experiment)):
        return faults
    if data.file and "val" not in data.sizes:
        return []
    monitored = {}
    if experiment.checkpoint.monitor != "auto":  # which always finds one, or needs none
        monitored["checkpoint.monitor"] = experiment.checkpoint.monitor
    if isinstance(experiment.schedule, Plateau):
        monitored["schedule.monitor"] = experiment.schedule.monitor
    if isinstance(experiment.model, CustomModelConfig):  # it may log any name
        return _direction_faults(experiment, monitored)
    known = known_metrics(experiment, data)
    if known is None:
        return []
    return [
        Fault(key, "is not a metric of this task", value=name, allowed=", ".join(known))
        for key, name in monitored.items()
        if name not in known
    ]


def known_metrics(experiment: Experiment, data: DataSpec) -> list[str] | None:
    """Return the validation metrics that a training logs; ``None`` if this is not known before."""
    if isinstance(experiment.model, CustomModelConfig):
        return None
    try:
        unweighted = experiment.loss.model_copy(update={"class_weights": "none"})
        task = Task(unweighted, data, experiment.metrics)
    except ConfigError:
        return None  # reported when the model is built
    return ["val/loss", *task.metrics("val/"), *(f"val/{name}" for name in getattr(experiment.model, "metrics", ()))]


def _validation_needed_faults(experiment: Experiment) -> list[Fault]:
    """Settings that require a validation, in a training without one."""
    problem = "needs a validation, but this training has none"
    remedy = "provide a validation split (data.splits, trainer.limit_val_batches), or {}"
    faults = []
    if isinstance(experiment.schedule, Plateau):
        other_schedule = remedy.format("choose another schedule")
        faults.append(Fault("schedule.name", problem, value="plateau", remedy=other_schedule))
    if experiment.trainer.early_stopping is not None:
        faults.append(Fault("trainer.early_stopping", problem, remedy=remedy.format("remove it")))
    return faults


def _direction_faults(experiment: Experiment, monitored: dict[str, str]) -> list[Fault]:
    """Metrics of a user's module for which ``mode: auto`` cannot know whether more is better."""
    modes = {
        "checkpoint.monitor": experiment.checkpoint.mode,
        "schedule.monitor": getattr(experiment.schedule, "mode", "auto"),
    }
    return [
        Fault(
            key.replace("monitor", "mode"),
            f"the name {name} does not say whether a lower or a higher value is better",
            value="auto",
            allowed="min, max",
        )
        for key, name in monitored.items()
        if modes[key] == "auto" and known_direction(name) is None
    ]
