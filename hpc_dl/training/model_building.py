"""The experiment's model, built for its data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.overrides import TorchFunctionMode

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import class_counts
from hpc_dl.data.spec import WITH_CLASSES, DataSpec, FieldSpec
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.task import Task
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.receptive_field import receptive_field
from hpc_dl.training.pretrained import freeze
from hpc_dl.training.training_length import total_steps

_RESTORING_HOOKS = ("setup", "configure_model", "on_load_checkpoint", "load_state_dict")
_WITH_AXES = ("series", "image", "volume")
_SMALL_MODEL = 4_000_000
_SMALL_INPUT = 100_000
_RANDOM = (
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
    torch.Tensor.normal_,
    torch.Tensor.uniform_,
)


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


def build_for_shapes(experiment: Experiment, data: DataSpec) -> pl.LightningModule:
    """Build the module to look at shapes: without values, unless a pass with values costs less.

    A user's own code may compute with values in ``__init__``, so it always gets them.

    Raises:
        ConfigError: the architecture or the loss does not fit the data.
    """
    if experiment.model.import_paths:
        return build_model(experiment, data)
    with without_values():
        model = build_model(experiment, data)
    if not _is_small(model, data):
        return model
    with torch.random.fork_rng(devices=()):
        return build_model(experiment, data)


def _is_small(model: nn.Module, data: DataSpec) -> bool:
    """Whether a pass with values takes less time than the imports of one on the meta device."""
    fits = data.is_dense and math.prod(data.input_shape) <= _SMALL_INPUT
    return fits and num_parameters(model) <= _SMALL_MODEL


@contextmanager
def without_values() -> Iterator[None]:
    """A context in which models get shapes but no values, and so take no time or memory."""
    with torch.device("meta"), _WithoutRandomNumbers():
        yield


class _WithoutRandomNumbers(TorchFunctionMode):
    """Leaves out the initialization of weights without values.

    torch would import what it needs to describe operations, which takes longer than everything else
    in ``hpc-dl validate``.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it fills a tensor without values."""
        kwargs = kwargs or {}
        if func in _RANDOM and (tensor := args[0] if args else kwargs["tensor"]).is_meta:
            return tensor
        return func(*args, **kwargs)


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


def field_of_view(experiment: Experiment, data: DataSpec) -> list[int] | None:
    """The receptive field of the last feature maps of a shipped architecture, along each axis.

    Returns:
        Input positions, those of the whole input where all of them have an influence; None for
        networks without convolution and attention, other inputs, and a user's own model.
    """
    if experiment.model.import_paths or data.input_kind not in _WITH_AXES:
        return None
    return _field_of_view(build_for_shapes(experiment, data), data)


def default_field_of_view(section: type[ModelConfig]) -> tuple[list[int], list[int]] | None:
    """The receptive field of an architecture with its default parameters, and the input's sizes.

    The input is an image of 224 × 224 pixels, or a series of 1,000 steps.
    """
    kind = next((kind for kind in ("image", "series") if kind in section.inputs), None)
    task = next((task for task in ("classification", "segmentation") if task in section.tasks), None)
    if kind is None or task is None:
        return None
    shape = (3, 224, 224) if kind == "image" else (1, 1000)
    targets = FieldSpec("targets", shape[1:] if task == "segmentation" else (), "int64")
    names = tuple(map(str, range(10)))
    data = DataSpec(
        (FieldSpec("inputs", shape, "float32"),), (targets,), task, 10, names, {"train": 1000}, "", "", "any"
    )
    optimizer, schedule = OPTIMIZERS["adam"].model_validate({"name": "adam"}), SCHEDULES["constant"].model_validate({})
    recipe = TrainingRecipe(Task(LossConfig(), data), optimizer, schedule, total_steps=1)
    with without_values():
        field = _field_of_view(section(name=section.model_fields["name"].default).build(data, recipe), data)
    return None if field is None else (field, list(shape[1:]))


def _field_of_view(model: pl.LightningModule, data: DataSpec) -> list[int] | None:
    if not isinstance(model, Supervised):
        return None
    if any(isinstance(layer, nn.RNNBase) for layer in model.modules()):
        return None  # it reads all steps; without values, torch would do so one by one, which takes seconds
    device = next((parameter.device for parameter in model.parameters()), None)
    field = receptive_field(model.eval(), torch.zeros(2, *data.input_shape, device=device))
    if field is None:
        return None
    return [whole if math.isinf(size) else int(size) for size, whole in zip(field, data.input_shape[1:], strict=True)]
