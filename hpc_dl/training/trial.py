"""One batch of each split on the CPU, to find faults in a user's own code before it is queued."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault, HpcDlError, defined_at, describe, environment_fault, raised_at
from hpc_dl.learning.metric_names import split_of, words
from hpc_dl.training.batches import batches_of, check_has_batches, has_test_data
from hpc_dl.training.callbacks import loss_of
from hpc_dl.training.loggers import logger_without_run
from hpc_dl.training.model_building import build_model
from hpc_dl.training.train import has_test

_STEPS = {"train": "training_step", "validate": "validation_step", "test": "test_step"}


def run_batches(experiment: Experiment, data: DataSpec, folder: Path) -> list[str]:
    """Train on one batch, validate and test on one.

    Args:
        experiment: with a module or network of the user.
        data: its data.
        folder: for what the module writes.

    Returns:
        Remarks for the user, one line each.

    Raises:
        ConfigError: it failed; the fault has the file, line and statement of the user's code.
    """
    warnings.simplefilter("ignore")
    pl.seed_everything(experiment.seed, verbose=False)
    model = build_model(experiment, data)
    size = {"batch_size": experiment.batch_size_per_device, "global_batch_size": None}  # this is a single device
    single = dataclasses.replace(experiment, data=experiment.data.model_copy(update=size))
    batches = batches_of(single, data, model)
    observer = _Observer()
    trainer = _trainer(experiment, model, observer, folder)
    try:
        trainer.fit(model, batches)
        check_has_batches(experiment, trainer)
        remarks = _remarks(experiment, trainer, observer.loss_is_missing)
        if has_test(model) and has_test_data(batches, data):
            trainer.test(model, batches, verbose=False)
    except HpcDlError:
        raise
    except BaseException as error:  # SystemExit too: a user's code may raise anything
        raise ConfigError(_fault(experiment, getattr(model, observer.step), error)) from error
    return remarks


class _Observer(Callback):
    """Notes whether the training step returns a loss, and which step fails."""

    def __init__(self) -> None:
        self.loss_is_missing = False
        self.step = "training_step"

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.loss_is_missing = pl_module.automatic_optimization and loss_of(outputs) is None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if trainer.state.stage is not None:
            self.step = _STEPS.get(trainer.state.stage.value, self.step)


def _trainer(experiment: Experiment, model: pl.LightningModule, observer: _Observer, folder: Path) -> pl.Trainer:
    config = experiment.trainer
    automatic = model.automatic_optimization
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1 if config.limit_val_batches else 0,
        limit_test_batches=1 if config.limit_test_batches else 0,
        num_sanity_val_steps=0,
        gradient_clip_val=config.gradient_clip_val if automatic else None,
        gradient_clip_algorithm=config.gradient_clip_algorithm if automatic else None,
        logger=logger_without_run(folder),
        callbacks=[observer],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _remarks(experiment: Experiment, trainer: pl.Trainer, loss_is_missing: bool) -> list[str]:
    """What is possible but hardly wanted.

    Raises:
        ConfigError: the module does not log the metric that the experiment monitors.
    """
    logged, name = trainer.callback_metrics, type(trainer.lightning_module).__name__
    monitor = experiment.checkpoint.monitor
    if trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.completed and monitor not in ("auto", *logged):
        raise ConfigError.at(
            "checkpoint.monitor",
            f"is not logged by {name}",
            value=monitor,
            allowed=", ".join(["auto", *sorted(name for name in logged if name not in ("train/loss",))]),
            remedy="choose one of these, or log it with self.log in validation_step",
        )
    remarks = []
    if loss_is_missing:
        where = defined_at(trainer.lightning_module.training_step)
        remarks.append(f"{name}.training_step returned no loss for its first batch, which trains nothing{where}")
    for metric, value in logged.items():
        if split_of(metric) == "val" and "loss" in words(metric) and not math.isfinite(float(value)):
            where = defined_at(trainer.lightning_module.validation_step)
            remarks.append(f"{name} logs {metric} = {float(value)} in its first validation{where}")
    return remarks


def _fault(experiment: Experiment, step: Callable[..., Any], error: BaseException) -> Fault:
    key = "model.network" if experiment.model.name == "network" else "model.class"
    where = "" if raised_at(error) or environment_fault(error) else defined_at(step)
    return Fault(
        key,
        f"fails on its first batch: {describe(error, anywhere=not where)}{where}",
        value=experiment.model.import_paths[0],
        remedy="--no-try skips this check",
    )
