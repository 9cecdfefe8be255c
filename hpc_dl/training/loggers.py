"""Where a training's metrics go: the run's journal and, unless disabled, W&B."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.wandb_facts import describe
from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.system_metrics import NodeMonitor
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_description import FAILED, FINISHED, STOPPED, WAITING, Description, Outcome
from hpc_dl.tracking.wandb_tracker import WandbTracker
from hpc_dl.training.console import say
from hpc_dl.training.ranks import Ranks
from hpc_dl.training.stopping import signals

_STOP_LIMIT_S = 10.0
"""Longest wait for W&B when the job is about to be ended."""


class Loggers:
    """The loggers of one attempt.

    Attributes:
        journal: writes a JSON line per row into the run folder.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, ranks: Ranks, attempt: int, from_step: int) -> None:
        """Open the loggers.

        Args:
            run: the run.
            experiment: its configuration.
            ranks: this process's rank.
            attempt: number of the attempt, from 0.
            from_step: step of the checkpoint that the attempt resumes from; 0 without one.
        """
        self.journal = JournalLogger(run.journal, attempt, from_step)
        self._outcome: Outcome = FAILED
        # Even if nothing is reported: a module's calls of wandb must not fail.
        self._wandb = WandbTracker(
            experiment.wandb,
            self.journal,
            folder=run.path,
            attempt=attempt,
            from_step=from_step,
            describe=lambda: describe(run),
            say=say,
            sync_command=f"hpc-dl sync {shlex.quote(str(run.path))}",
            stop=lambda: signals.request("wandb", "W&B"),
            num_nodes=experiment.resources.nodes,
        )
        first_of_node = ranks.local_rank == 0 and ranks.rank > 0
        self._node = NodeMonitor(run.path) if first_of_node and experiment.wandb.mode in ("auto", "online") else None

    def start(self) -> None:
        """Make the run of a user's code, which ``wandb.init`` and ``wandb.log`` then use."""
        _ = self._wandb.experiment

    def attach(self, step: Callable[[], int]) -> None:
        """Set how to find the global step of what a module logs to W&B itself."""
        self._wandb.attach(step)

    def all(self) -> list[pl.loggers.Logger]:
        """The loggers of the Trainer: one, which writes each row into the journal."""
        return [self._wandb]

    def report_success(self) -> None:
        """Have :meth:`close` report to W&B that the run finished."""
        self._outcome = FINISHED

    def report_stop(self, *, resumes: bool) -> None:
        """Have :meth:`close` report to W&B that the run stopped.

        Args:
            resumes: whether it is about to resume on its own.
        """
        self._outcome = WAITING if resumes else STOPPED

    def close(self) -> None:
        """Finish the W&B run (as failed, unless reported otherwise) and close the journal."""
        if self._node is not None:
            self._node.stop()
        try:
            stopped = self._outcome in (STOPPED, WAITING)
            self._wandb.finish(self._outcome, _STOP_LIMIT_S if stopped else None)
        finally:
            with suppress(OSError):
                self.journal.close()


def logger_without_run(folder: Path) -> WandbTracker:
    """Return a logger for a module that is tried or evaluated: nothing is reported to W&B.

    Args:
        folder: for what the module logs.
    """
    return WandbTracker(
        WandbConfig(mode="disabled"),
        JournalLogger(folder / "journal"),
        folder=folder,
        attempt=0,
        from_step=0,
        describe=lambda: Description(name="trial", project="trial"),
        say=lambda _: None,
        sync_command="",
    )


def step_of(trainer: pl.Trainer) -> int:
    """The step to which a value belongs that is logged now: within a batch, that of its end."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return trainer.global_step + int(trainer.training and progress.started > progress.processed)
