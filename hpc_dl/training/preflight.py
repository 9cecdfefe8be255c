"""All checks of an experiment that are possible before its job waits in the queue for hours.

They need no GPU and little memory.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.order.batch_order import BatchOrder
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError, raised_at
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.network import Network
from hpc_dl.training.batches import missing_data_faults
from hpc_dl.training.model_building import build_for_shapes, num_parameters
from hpc_dl.training.monitored_metrics import monitor_faults
from hpc_dl.training.pretrained import load_pretrained
from hpc_dl.training.training_length import batches_per_epoch

_QUICKLY_READ_BYTES = 16 << 20


def preflight(experiment: Experiment, data: DataSpec) -> int:
    """Check the experiment against its data, and its model without allocating memory for weights.

    Returns:
        The number of trainable parameters.

    Raises:
        ConfigError: with all faults found.
    """
    faults = [*_training_split_faults(experiment, data), *_evaluation_split_faults(experiment, data)]
    faults += [*monitor_faults(experiment, data), *_generation_faults(experiment, data)]
    parameters = 0
    try:
        if data.file and _is_quickly_read(data):  # finds what the training would find at its start, such as NaN
            _ = HDF5DataModule.from_config(experiment.data, data).preprocessings
        model = build_for_shapes(experiment, data)
        if isinstance(model, Network):
            faults += _output_faults(model, data)
        elif isinstance(model, Supervised) and data.is_dense:
            _check_output_shape(model, data)
        faults += missing_data_faults(experiment, data, model)
        if experiment.data.group is not None and not isinstance(model, Supervised):
            problem = f"needs the outputs of a network, which {type(model).__name__} does not return"
            faults.append(Fault("data.group", problem, remedy="remove it, or use `model: {network: …}`"))
        if not model.automatic_optimization:
            faults += _manual_optimization_faults(experiment)
        if experiment.model.init_from is not None:
            load_pretrained(model, Path(experiment.model.init_from))
        parameters = num_parameters(model)
    except HpcDlError as error:
        faults.extend(error.faults)
    if faults:
        raise ConfigError(*faults)
    return parameters


def _is_quickly_read(data: DataSpec) -> bool:
    """Whether all training inputs are read in a moment."""
    sample = sum(math.prod(field.shape) * np.dtype(field.dtype).itemsize for field in data.inputs if not field.ragged)
    return data.sizes["train"] * sample <= _QUICKLY_READ_BYTES and not any(field.window for field in data.inputs)


def _check_output_shape(model: Supervised, data: DataSpec) -> None:
    outputs = _outputs_of_zeros(model, data)
    expected = (2, *model.recipe.task.output_shape)
    assert outputs.shape == expected, f"{type(model).__name__} returns {tuple(outputs.shape)} instead of {expected}"


@torch.no_grad()
def _outputs_of_zeros(model: Supervised, data: DataSpec) -> torch.Tensor:
    """The outputs for two samples of zeros: (2, *output_shape)."""
    model.eval()
    kind = torch.int64 if data.input_kind == "tokens" else torch.float32
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    outputs: torch.Tensor = model(torch.zeros(2, *data.input_shape, dtype=kind, device=device))
    return outputs


def _output_faults(model: Network, data: DataSpec) -> list[Fault]:
    """Outputs of a user's network that do not fit the task, or none at all."""
    if not data.is_dense:
        return []  # only a batch can show it
    try:
        shape = tuple(_outputs_of_zeros(model, data).shape)
    except HpcDlError as error:
        return list(error.faults)
    except Exception as error:  # a user's code may raise anything
        where = raised_at(error, anywhere=True)
        problem = f"raised {type(error).__name__} for inputs of shape (2, {', '.join(map(str, data.input_shape))})"
        return [Fault("model.network", f"{problem}: {error}{where}", value=type(model.network).__name__)]
    expected = (2, *model.recipe.task.output_shape)
    if shape == expected or (expected[1:] == (1,) and shape == (2,)):
        return []
    return [
        Fault(
            "model.network",
            f"returns outputs of shape {shape}, and the task {data.task} needs {expected}",
            value=type(model.network).__name__,
            remedy="set its number of classes or outputs in model.args",
        )
    ]


def _training_split_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    """Too few samples or batches to train on, or for the interval between validations."""
    if not data.file:  # the loaders of a user's module are only known in the training
        return []
    faults = []
    ranks = experiment.resources.world_size
    batch_size = experiment.batch_size_per_device
    batches = batches_per_epoch(experiment, data)
    if data.sizes["train"] < batch_size * ranks:
        faults.append(
            Fault(
                "data.global_batch_size" if experiment.data.global_batch_size else "data.batch_size",
                f"the training split of {data.file} has {data.sizes['train']} samples, too few for one batch of "
                f"{batch_size} on each of {ranks} ranks",
                value=batch_size,
                allowed=f"at most {data.sizes['train'] // ranks}",
            )
        )
    elif batches == 0:
        faults.append(
            Fault(
                "trainer.limit_train_batches",
                "selects no batch to train on",
                value=experiment.trainer.limit_train_batches,
                remedy="raise it, or lower data.batch_size",
            )
        )
    interval = experiment.trainer.val_check_interval
    if isinstance(interval, int) and interval > batches > 0:
        faults.append(
            Fault(
                "trainer.val_check_interval",
                f"an epoch has only {batches} batches",
                value=interval,
                allowed=f"at most {batches} batches, or a fraction of an epoch",
            )
        )
    return faults


def _evaluation_split_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    """Validation or test splits with too few samples or batches."""
    faults = []
    ranks = experiment.resources.world_size
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
                    remedy="request fewer GPUs, or enlarge the split",
                )
            )
    return faults


def _limit_faults(experiment: Experiment, split: str, size: int) -> list[Fault]:
    """A fraction of the batches that is less than one batch.

    Lightning refuses it too, but not before it evaluates the split: for the test split, at the very
    end.
    """
    batches = len(
        BatchOrder(size, experiment.batch_size_per_device, training=False, world_size=experiment.resources.world_size)
    )
    limit = getattr(experiment.trainer, f"limit_{split}_batches")
    if isinstance(limit, int) or limit == 0 or batches * limit >= 1:
        return []
    return [
        Fault(
            f"trainer.limit_{split}_batches",
            f"selects none of the {batches} {split} batches",
            value=limit,
            allowed=f"0 to skip the split, at least {1 / batches:.2g}, or an integer number of batches",
        )
    ]


def _manual_optimization_faults(experiment: Experiment) -> list[Fault]:
    """Settings that Lightning ignores for modules that call their optimizers themselves."""
    trainer = experiment.trainer
    ignored = {
        "gradient_clip_val": trainer.gradient_clip_val,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
    return [
        Fault(
            f"trainer.{key}",
            f"has no effect on {experiment.model.name}, which calls its optimizers itself",
            value=value,
            remedy="remove it",
        )
        for key, value in ignored.items()
        if value is not None and (key, value) != ("accumulate_grad_batches", 1)
    ]


def _generation_faults(experiment: Experiment, data: DataSpec) -> list[Fault]:
    """Preprocessing other than scaling, which cannot be undone for generated samples."""
    if data.task != "generation":
        return []
    return [
        Fault(f"data.{key}", "cannot be undone for generated samples", value=value, remedy="remove it")
        for key, value in (("imputation", experiment.data.imputation), ("projection", experiment.data.projection))
        if value != "none"
    ]
