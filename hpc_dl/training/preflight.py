"""Everything that can be checked before a job waits in the queue for hours; needs no GPU and no
memory to speak of.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import class_counts
from hpc_dl.data.order.batch_order import BatchOrder
from hpc_dl.data.spec import WITH_CLASSES, DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import Plateau
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.task import Task
from hpc_dl.models.base import ModelConfig
from hpc_dl.training.pretrained import freeze, load_pretrained

_SMALL_BYTES = 16 << 20


def batches_per_epoch(experiment: Experiment, data: DataSpec) -> int:
    """Training batches of each rank in an epoch, after ``limit_train_batches``."""
    limit = experiment.trainer.limit_train_batches
    batches = data.sizes["train"] // (experiment.batch_size_per_device * experiment.resources.world_size)
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def total_steps(experiment: Experiment, data: DataSpec) -> int:
    """Optimizer steps of the whole training."""
    config = experiment.trainer
    steps = config.max_steps or math.inf
    if config.epochs != -1:
        assert config.epochs is not None
        epoch = math.ceil(batches_per_epoch(experiment, data) / config.accumulate_grad_batches)
        steps = min(steps, config.epochs * epoch)
    return int(steps)


def build_model(experiment: Experiment, data: DataSpec) -> pl.LightningModule:
    """The experiment's module for this data, with fresh weights, and frozen where it says so.

    Raises:
        ConfigError: the architecture or the loss does not fit the data.
    """
    balanced = experiment.loss.class_weights == "balanced" and data.task in WITH_CLASSES
    counts = class_counts(experiment.data) if balanced else None
    task = Task(experiment.loss, data, experiment.metrics, counts)
    recipe = TrainingRecipe(task, experiment.optimizer, experiment.schedule, total_steps(experiment, data))
    model = experiment.model.build(data, recipe)
    freeze(model, experiment.model.freeze)
    return model


def num_parameters(model: nn.Module) -> int:
    """Trainable parameters; those of lazy layers count only once their shape is known."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad and not isinstance(p, UninitializedParameter))


def preflight(experiment: Experiment, data: DataSpec) -> int:
    """Check the experiment against its data, and the model on torch's meta device (no memory, no
    computation).

    Returns:
        The number of trainable parameters.

    Raises:
        ConfigError: with all faults found.
    """
    faults = [
        *_split_faults(experiment, data), *_monitor_faults(experiment, data), *_generation_faults(experiment, data)
    ]  # fmt: skip
    parameters = 0
    try:
        if _small(data):  # what a training would meet at its beginning
            _ = HDF5DataModule.from_config(experiment.data, data).preprocessings
        # The meta device knows shapes only. A user's own module may compute with values in
        # __init__: on the CPU then.
        own = experiment.model.name == "custom"
        with torch.device("cpu" if own else "meta"):
            model = build_model(experiment, data)
            if isinstance(model, Supervised) and data.is_dense:
                _try_shapes(model, data)
        if not model.automatic_optimization:
            faults += _not_by_hand(experiment)
        if experiment.model.init_from is not None:
            load_pretrained(model, Path(experiment.model.init_from))
        parameters = num_parameters(model)
    except HpcDlError as error:
        faults.extend(error.faults)
    if faults:
        raise ConfigError(*faults)
    return parameters


def _small(data: DataSpec) -> bool:
    """Whether all training inputs are read in a moment."""
    sample = sum(math.prod(field.shape) * np.dtype(field.dtype).itemsize for field in data.inputs if not field.ragged)
    return data.sizes["train"] * sample <= _SMALL_BYTES and not any(field.window for field in data.inputs)


def _try_shapes(model: Supervised, data: DataSpec) -> None:
    model.eval()
    tokens = data.input_kind == "tokens"
    outputs = model(torch.zeros(2, *data.input_shape, dtype=torch.int64 if tokens else torch.float32))
    wanted = (2, *model.recipe.task.output_shape)
    assert outputs.shape == wanted, f"{type(model).__name__} gives {tuple(outputs.shape)} instead of {wanted}"


def _split_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    faults = []
    ranks = experiment.resources.world_size
    size = experiment.batch_size_per_device
    if data.sizes["train"] < size * ranks:
        faults.append(
            Fault(
                "data.global_batch_size" if experiment.data.global_batch_size else "data.batch_size",
                f"the training split of {data.file} has {data.sizes['train']} samples, too few for one batch of {size} "
                f"on each of {ranks} ranks",
                value=size,
                allowed=f"at most {data.sizes['train'] // ranks}",
            )
        )
    elif batches_per_epoch(experiment, data) == 0:
        faults.append(
            Fault(
                "trainer.limit_train_batches",
                "leaves no batch to train on",
                value=experiment.trainer.limit_train_batches,
                remedy="raise it, or lower data.batch_size",
            )
        )
    interval = experiment.trainer.val_check_interval
    most = batches_per_epoch(experiment, data)
    if isinstance(interval, int) and interval > most > 0:
        faults.append(
            Fault(
                "trainer.val_check_interval",
                f"an epoch has {most} batches only",
                value=interval,
                allowed=f"at most {most} batches, or a fraction of an epoch",
            )
        )
    for split in ("val", "test"):
        if split not in data.sizes:
            continue
        if data.sizes[split] >= ranks:
            faults.extend(_limit_faults(experiment, split, data.sizes[split]))
        else:
            faults.append(
                Fault(
                    "resources",
                    f"the {split} split of {data.file} has {data.sizes[split]} samples, fewer than the {ranks} ranks",
                    remedy="ask for fewer GPUs, or make the split larger",
                )
            )
    return faults


def _limit_faults(experiment: Experiment, split: str, size: int) -> list[Fault]:
    """Lightning refuses a fraction that leaves no batch, and that only when the split's turn comes."""
    batches = len(
        BatchOrder(size, experiment.batch_size_per_device, shuffle=False, num_ranks=experiment.resources.world_size)
    )
    limit = getattr(experiment.trainer, f"limit_{split}_batches")
    if isinstance(limit, int) or limit == 0 or batches * limit >= 1:
        return []
    return [
        Fault(
            f"trainer.limit_{split}_batches",
            f"leaves none of the {batches} {split} batches",
            value=limit,
            allowed=f"0 for none, at least {1 / batches:.2g}, or an integer number of batches",
        )
    ]


def _not_by_hand(experiment: Experiment) -> list[Fault]:
    """What Lightning does around an optimizer step, it does not do for modules that step by
    themselves.
    """
    trainer = experiment.trainer
    wanted = {
        "gradient_clip_val": trainer.gradient_clip_val,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
    return [
        Fault(
            f"trainer.{key}",
            f"{experiment.model.name} makes its steps itself: it has no effect",
            value=value,
            remedy="leave it out",
        )
        for key, value in wanted.items()
        if value is not None and (key, value) != ("accumulate_grad_batches", 1)
    ]


def _generation_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    """Samples that a network draws are given back in the units of the data: only scaling can be
    undone.
    """
    if data.task != "generation":
        return []
    return [
        Fault(f"data.{key}", "cannot be undone for samples that are drawn", value=value, remedy="leave it out")
        for key, value in (("imputation", experiment.data.imputation), ("projection", experiment.data.projection))
        if value != "none"
    ]


def _monitor_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    schedule = experiment.schedule
    watched = {"checkpoint.monitor": experiment.checkpoint.monitor}
    if "val" not in data.sizes or not experiment.trainer.limit_val_batches:
        problem = "there is no validation to watch"
        remedy = "see to a validation split (data.splits, limit_val_batches), or {}"
        without = []
        if isinstance(schedule, Plateau):
            other = remedy.format("choose another schedule")
            without.append(Fault("schedule.name", problem, value="plateau", remedy=other))
        if experiment.trainer.early_stopping is not None:
            without.append(Fault("trainer.early_stopping", problem, remedy=remedy.format("leave it out")))
        if without:
            return without
    if isinstance(schedule, Plateau):
        watched["schedule.monitor"] = schedule.monitor
    if "val" not in data.sizes:
        return []
    if not isinstance(experiment.model, ModelConfig):  # it logs what it likes
        modes = {"checkpoint": experiment.checkpoint.mode, "schedule": getattr(schedule, "mode", "auto")}
        return [
            Fault(
                f"{where.partition('.')[0]}.mode",
                f"whether less or more of {name} is better, its name does not tell",
                value="auto",
                allowed="min, max",
            )
            for where, name in watched.items()
            if modes[where.partition(".")[0]] == "auto" and known_direction(name) is None
        ]
    try:
        unweighted = experiment.loss.model_copy(update={"class_weights": "none"})
        task = Task(unweighted, data, experiment.metrics)
    except ConfigError:
        return []  # told when the model is built
    known = ["val/loss", *task.metrics("val/"), *(f"val/{name}" for name in experiment.model.metrics)]
    return [
        Fault(where, "is not a metric of this task", value=name, allowed=", ".join(known))
        for where, name in watched.items()
        if name not in known
    ]
