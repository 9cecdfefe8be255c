"""The Lightning Trainer of a run: accelerator, strategy and progress output."""

from __future__ import annotations

import datetime
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy

from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.callbacks import PlainProgress, TerminalProgress
from hpc_dl.training.console import log_only, on_terminal, say
from hpc_dl.training.ranks import Ranks

# Keys of the `trainer` section that Lightning's Trainer does not take, or not under this name.
_NOT_PASSED_ON = {
    "max_epochs", "max_steps", "accelerator", "strategy", "stall_timeout", "compile", "channels_last", "early_stopping",
    "on_nan", "figures", "step_times",
}  # fmt: skip


def build_trainer(
    run: RunFolder,
    experiment: Experiment,
    ranks: Ranks,
    loggers: list[pl.loggers.Logger],
    callbacks: list[Callback],
) -> pl.Trainer:
    """Build the Trainer that the ``trainer`` and ``resources`` sections describe.

    Raises:
        ClusterError: a GPU is required, but torch sees fewer than requested.
    """
    config, resources = experiment.trainer, experiment.resources
    return pl.Trainer(
        **config.model_dump(exclude=_NOT_PASSED_ON, exclude_none=True),
        max_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        accelerator=choose_accelerator(experiment),
        strategy=_strategy(experiment),
        devices=resources.ranks_per_node,
        num_nodes=resources.nodes,
        plugins=[ranks.lightning_environment()],
        # Our loader gives each rank its own samples, which a user's loader does not.
        use_distributed_sampler=experiment.data.source is None and experiment.data.file is None,
        logger=loggers,
        callbacks=[*callbacks, *_progress()],
        enable_checkpointing=False,  # the Checkpointing callback saves instead
        default_root_dir=run.path,
        enable_model_summary=False,
        enable_progress_bar=on_terminal(),
    )


def choose_accelerator(experiment: Experiment) -> str:
    """Return ``gpu`` or ``cpu``; if GPUs were requested, say so before falling back to the CPU.

    Raises:
        ClusterError: a GPU is required, but torch sees none, or fewer than requested.
    """
    requested, per_node = experiment.trainer.accelerator, experiment.resources.gpus_per_node
    if requested == "cpu" or per_node == 0:
        return "cpu"
    visible = torch.cuda.device_count()
    if visible >= per_node:
        return "gpu"
    if visible or requested == "gpu":
        raise ClusterError.at(
            "resources.gpus_per_node",
            f"torch sees {visible} GPUs on this node (torch {torch.__version__})",
            value=per_node,
            remedy="request fewer GPUs, or install a torch build that supports them",
        )
    say(f"torch {torch.__version__} sees no GPU: training on the CPU instead.")
    return "cpu"


def stall_timeout_s(experiment: Experiment) -> float | None:
    """``trainer.stall_timeout`` in seconds; ``None`` without a limit."""
    minutes = experiment.trainer.stall_timeout
    return None if minutes is None else 60 * minutes


def _strategy(experiment: Experiment) -> str | DDPStrategy:
    strategy = experiment.trainer.strategy
    if experiment.resources.world_size == 1:
        return strategy
    options: dict[str, Any] = {"find_unused_parameters": strategy == "ddp_find_unused_parameters_true"}
    if (timeout_s := stall_timeout_s(experiment)) is not None:
        # Twice as long as the watchdog waits, since the watchdog's message is more helpful.
        options["timeout"] = datetime.timedelta(seconds=2 * timeout_s)
    return DDPStrategy(**options)


def _progress() -> list[Callback]:
    return [TerminalProgress(), PlainProgress(log_only)] if on_terminal() else [PlainProgress(say)]
