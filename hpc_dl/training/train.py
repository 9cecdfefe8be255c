"""The training of one rank, from the run folder to the result. Reads top-down: train, fit, evaluate, conclude."""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.opening import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ClusterError, ConfigError, Stopped
from hpc_dl.learning.supervised import Supervised
from hpc_dl.runs.files import write_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.runs.state import end_state, record_failure, write_state
from hpc_dl.tracking.logger import JournalLogger
from hpc_dl.tracking.wandb import WandbTracker
from hpc_dl.training.callbacks import CheckpointMetrics, PlainProgress, TerminalProgress, TrainingMetrics
from hpc_dl.training.console import elapsed, note, on_terminal, say, set_up
from hpc_dl.training.preflight import build_model, num_parameters
from hpc_dl.training.ranks import Ranks, cpus_per_rank

_LIMIT_MARGIN_S = 60.0  # between the job's start, as Slurm counts, and that of this process


def train(run: RunFolder) -> None:
    """Train, test and conclude; this process is one of the ranks.

    Args:
        run: a prepared run folder.

    Raises:
        Exception: whatever ended the training, after it was written to the run's state.
    """
    began = time.monotonic()
    ranks = Ranks.from_environment()
    set_up(run, ranks.rank)
    attempt = len(list(run.journal.glob("attempt-*.jsonl")))
    if ranks.rank == 0:
        write_state(run, "running", attempt=attempt, **slurm_facts())
    try:
        _train(run, ranks, attempt, began)
    except KeyboardInterrupt as error:
        raise _interrupted(run) from error
    except SIGTERMException as error:
        stopped = _terminated(run, began)
        record_failure(run, stopped, ranks.rank)
        raise stopped from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning's way to end after a Ctrl-C
            raise _interrupted(run) from error
        record_failure(run, error, ranks.rank)
        raise
    except BaseException as error:
        record_failure(run, error, ranks.rank)
        raise


def _interrupted(run: RunFolder) -> Stopped:
    end_state(run, "cancelled", reason="interrupted by Ctrl-C")
    return Stopped.at("training", "was interrupted by Ctrl-C")


def _terminated(run: RunFolder, began: float) -> Stopped:
    """Slurm says SIGTERM for everything; how long the job ran tells the time limit from the rest."""
    resources = Experiment.from_dict(yaml.load(run.config)).resources
    if time.monotonic() - began > 60 * resources.minutes - _LIMIT_MARGIN_S:
        limit = f"reached its time limit (resources.time={resources.time})"
        return Stopped.at("training", limit, remedy="ask for more time, or train for fewer epochs")
    return Stopped.at("training", "was ended by SIGTERM: cancelled, preempted, or its node shut down")


def _train(run: RunFolder, ranks: Ranks, attempt: int, began: float) -> None:
    experiment = Experiment.from_dict(yaml.load(run.config))
    torch.set_num_threads(cpus_per_rank(experiment.resources.ranks_per_node))
    torch.set_float32_matmul_precision("high")  # TF32 where the GPU has it; the CPU is not touched
    data = open_spec(experiment.data)
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    model = build_model(experiment, data)
    batches = HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed)
    journal = JournalLogger(run.journal, attempt)
    tracker = _wandb(run, experiment, data)
    trainer = _trainer(run, experiment, data, ranks, [journal, *([tracker] if tracker else [])])
    _introduce(experiment, data, model, trainer)
    status = 1
    metrics: dict[str, float] = {}
    try:
        metrics = _fit_and_test(run, trainer, model, batches, data, experiment.seed)
        if trainer.is_global_zero:
            _conclude(run, experiment, model, trainer, metrics, began)
        status = 0
    finally:
        with suppress(OSError):
            journal.close()
        if tracker is not None:
            tracker.finish(exit_code=status, summary=metrics)


def _fit_and_test(
    run: RunFolder, trainer: pl.Trainer, model: pl.LightningModule, batches: HDF5DataModule, data: DataSpec, seed: int
) -> dict[str, float]:
    """Fit, then test the best weights; the metrics of both by their full names."""
    # Each rank its own dropout masks; the weights are already drawn, from the same seed on all.
    pl.seed_everything(seed + trainer.global_rank, workers=True, verbose=False)
    try:
        trainer.fit(model, batches)
    except MisconfigurationException as error:
        if "ModelCheckpoint(monitor=" not in str(error):
            raise
        raise ConfigError.at(
            "checkpoint.monitor",
            f"was not logged by {type(model).__name__} in its first validation",
            allowed=", ".join(sorted(trainer.callback_metrics)),
            remedy="name one of these, or log it with self.log in validation_step",
        ) from None
    if not run.best_checkpoint.exists():  # no validation split, or the training ended before the first validation
        trainer.save_checkpoint(run.best_checkpoint)
    metrics: dict[str, float] = torch.load(run.best_checkpoint, weights_only=True, mmap=True)[CheckpointMetrics.KEY]
    if "test" in data.sizes and _has_test(model):
        trainer.test(model, batches, ckpt_path=str(run.best_checkpoint), weights_only=True, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items()}
    return dict(sorted(metrics.items()))


def _trainer(
    run: RunFolder, experiment: Experiment, data: DataSpec, ranks: Ranks, loggers: list[pl.loggers.Logger]
) -> pl.Trainer:
    config = experiment.trainer
    resources = experiment.resources
    accelerator = _accelerator(experiment)
    strategy = config.strategy
    if strategy == "auto" and resources.world_size > 1:
        strategy = "ddp"
    options: dict[str, Any] = config.model_dump(
        exclude={"max_epochs", "max_steps", "accelerator", "strategy"}, exclude_none=True
    )
    # Two callbacks: with `save_last` one alone would write last.ckpt only where best.ckpt is written, too.
    checkpoints: dict[str, Any] = {"dirpath": run.checkpoints, "enable_version_counter": False}
    last = ModelCheckpoint(filename=run.last_checkpoint.stem, save_on_train_epoch_end=True, **checkpoints)
    callbacks: list[Callback] = [TrainingMetrics(), CheckpointMetrics(), last]
    if "val" in data.sizes:
        choice = experiment.checkpoint
        best = ModelCheckpoint(
            filename=run.best_checkpoint.stem, monitor=choice.monitor, mode=choice.mode, **checkpoints
        )
        callbacks.append(best)
    if on_terminal():
        callbacks += [TerminalProgress(), PlainProgress(note)]
    else:
        callbacks.append(PlainProgress(say))
    return pl.Trainer(
        **options,
        max_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        accelerator=accelerator,
        strategy=strategy,
        devices=resources.ranks_per_node,
        num_nodes=resources.nodes,
        plugins=[ranks.lightning_environment()],
        use_distributed_sampler=False,  # our batches already know their rank
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=run.path,
        enable_model_summary=False,
        enable_progress_bar=on_terminal(),
    )


def _accelerator(experiment: Experiment) -> str:
    """``gpu`` or ``cpu``; never the CPU in silence where GPUs were asked for.

    Raises:
        ClusterError: a GPU is required and there is none, or fewer than asked for.
    """
    wanted, per_node = experiment.trainer.accelerator, experiment.resources.gpus_per_node
    if wanted == "cpu" or per_node == 0:
        return "cpu"
    visible = torch.cuda.device_count()
    if visible >= per_node:
        return "gpu"
    if visible or wanted == "gpu":
        raise ClusterError.at(
            "resources.gpus_per_node",
            f"torch sees {visible} GPUs here (torch {torch.__version__})",
            value=per_node,
            remedy="ask for fewer, or install a torch that is built for these GPUs",
        )
    say(f"No GPU is visible to torch {torch.__version__}: training on the CPU instead.")
    return "cpu"


def _wandb(run: RunFolder, experiment: Experiment, data: DataSpec) -> WandbTracker | None:
    if experiment.wandb.mode == "disabled":
        return None
    return WandbTracker(
        experiment.wandb,
        run_id=run.name,
        name=experiment.name,
        folder=run.path,
        run_config=experiment.to_dict(),
        metadata={**slurm_facts(), "host": os.uname().nodename, "run": str(run.path), "data": data.checksum},
        say=say,
    )


def _has_test(model: pl.LightningModule) -> bool:
    return isinstance(model, Supervised) or type(model).test_step is not pl.LightningModule.test_step


def _introduce(experiment: Experiment, data: DataSpec, model: pl.LightningModule, trainer: pl.Trainer) -> None:
    if not trainer.is_global_zero:
        return
    parameters = num_parameters(model)
    sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
    devices = f"{trainer.world_size} × {trainer.strategy.root_device.type}"
    network = f"{type(model).__name__} with {parameters:,} parameters"
    say(f"{network} on {data.name} ({sizes}), {devices}, seed {experiment.seed}")


def _conclude(
    run: RunFolder,
    experiment: Experiment,
    model: pl.LightningModule,
    trainer: pl.Trainer,
    metrics: dict[str, float],
    began: float,
) -> None:
    """Write the result, then the state: who reads ``finished`` finds the result there."""
    write_json(
        run.result,
        {
            "run": run.name,
            "dir": str(run.path),
            "state": "finished",
            "metrics": {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()},
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(time.monotonic() - began, 3),
            "parameters": num_parameters(model),
            "world_size": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "seed": experiment.seed,
        },
    )
    end_state(run, "finished", step=trainer.global_step)
    say(f"Finished after {trainer.global_step} steps in {elapsed(began)}.")
