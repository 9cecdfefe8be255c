"""What the log says about a training before its first step."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch.nn.parameter import UninitializedParameter

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import name_of
from hpc_dl.nn.initialization import initialization_warning
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.training.batches import Batches
from hpc_dl.training.console import say
from hpc_dl.training.model_building import num_parameters
from hpc_dl.training.training_length import total_steps


def log_summary(
    experiment: Experiment,
    data: DataSpec,
    model: pl.LightningModule,
    batches: Batches,
    trainer: pl.Trainer,
    resumed_from: Checkpoint | None,
) -> None:
    """Log model, data, devices and seed, and advice on settings that probably do not help."""
    device = trainer.strategy.root_device
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    sizes = f" ({sizes})" if sizes else ""
    say(
        f"{experiment.model.title} with {_parameters(model)} on {data.name}{sizes}, "
        f"{trainer.world_size} × {device.type}, seed {experiment.seed}"
    )
    for message in (_tf32(experiment, device), _initialization(experiment), _warm_up(experiment, data)):
        if message:
            say(message)
    for message in data.notes:
        say(message)
    for message in batches.describe_missing_values():
        say(message)
    if resumed_from is not None:
        say(f"Resuming from step {resumed_from.step} ({resumed_from.path.name})")


def _parameters(model: pl.LightningModule) -> str:
    trainable = num_parameters(model)
    initialized = [p for p in model.parameters() if not isinstance(p, UninitializedParameter)]
    frozen = sum(p.numel() for p in initialized if not p.requires_grad)
    return f"{trainable:,} trainable and {frozen:,} frozen parameters" if frozen else f"{trainable:,} parameters"


def _tf32(experiment: Experiment, device: torch.device) -> str:
    """A hint if float32 matrix products run as TF32 (Ampere and newer)."""
    if device.type != "cuda" or experiment.trainer.precision != "32-true":
        return ""
    if torch.cuda.get_device_capability(device) < (8, 0):
        return ""
    return "float32 matrix products run as TF32 (10-bit mantissa). trainer.precision=bf16-mixed is faster still."


def _initialization(experiment: Experiment) -> str:
    """A hint if the initial weights do not suit the activation."""
    setting = getattr(experiment.model, "activation", None)
    if not isinstance(experiment.model, ModelConfig) or setting is None:
        return ""
    return initialization_warning(experiment.model.init, name_of(setting)) or ""


def _warm_up(experiment: Experiment, data: DataSpec) -> str:
    """A hint if the training ends before the warm-up does."""
    warmup, steps = getattr(experiment.schedule, "warmup_steps", 0), total_steps(experiment, data)
    if warmup < steps or steps <= 0:
        return ""
    return (
        f"schedule.warmup_steps: warm-up outlasts the training: the peak rate is never reached "
        f"({warmup} warm-up steps, {steps} steps in all)"
    )
