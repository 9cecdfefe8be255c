"""The experiment's model, built for its data."""

from __future__ import annotations

import pytorch_lightning as pl
from torch import nn
from torch.nn.parameter import UninitializedParameter

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import class_counts
from hpc_dl.data.spec import WITH_CLASSES, DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.task import Task
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.training.pretrained import freeze
from hpc_dl.training.training_length import total_steps

_RESTORING_HOOKS = ("setup", "configure_model", "on_load_checkpoint", "load_state_dict")


def build_model(experiment: Experiment, data: DataSpec) -> pl.LightningModule:
    """Build the experiment's module with fresh weights, the parts under ``model.freeze`` frozen.

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


def restores_itself(model: pl.LightningModule) -> bool:
    """Whether only a Trainer can load the module's weights.

    A user's module may make its layers in ``setup`` or ``configure_model``, or change in other
    hooks what is loaded.
    """
    if isinstance(model, TrainingModule):
        return False
    has_hook = any(getattr(type(model), name) is not getattr(pl.LightningModule, name) for name in _RESTORING_HOOKS)
    return has_hook or not model.strict_loading


def num_parameters(model: nn.Module) -> int:
    """The number of trainable parameters; lazy ones count as soon as their shape is known."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad and not isinstance(p, UninitializedParameter))
