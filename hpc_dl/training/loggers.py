"""Where a training's metrics go: the run's journal and, unless disabled, W&B."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.spec import DataSpec
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.wandb_tracker import WandbTracker
from hpc_dl.training.console import say


class Loggers:
    """The loggers of one attempt.

    Attributes:
        journal: writes a JSON line per row into the run folder.
    """

    def __init__(self, run: RunFolder, experiment: Experiment, data: DataSpec, attempt: int, from_step: int) -> None:
        """Open the loggers.

        Args:
            run: the run.
            experiment: its configuration.
            data: the data it trains on.
            attempt: number of the attempt, from 0.
            from_step: step of the checkpoint that the attempt resumes from; 0 without one.
        """
        self.journal = JournalLogger(run.journal, attempt, from_step)
        self._wandb = None
        self._outcome: dict[str, Any] = {"exit_code": 1}
        if experiment.wandb.mode != "disabled":
            self._wandb = _wandb_tracker(run, experiment, data, from_step)

    def all(self) -> list[pl.loggers.Logger]:
        """Every logger that the Trainer writes to."""
        return [self.journal] if self._wandb is None else [self.journal, self._wandb]

    def report_success(self, metrics: Mapping[str, float]) -> None:
        """Have :meth:`close` report to W&B that the run finished with these metrics."""
        self._outcome = {"exit_code": 0, "summary": metrics}

    def report_stop(self, exit_code: int) -> None:
        """Have :meth:`close` report to W&B that the run stopped and can be resumed."""
        self._outcome = {"exit_code": exit_code, "preempted": True}

    def close(self) -> None:
        """Finish the W&B run (as failed, unless reported otherwise) and close the journal."""
        try:
            if self._wandb is not None:
                self._wandb.finish(**self._outcome)
        finally:
            with suppress(OSError):
                self.journal.close()


def _wandb_tracker(run: RunFolder, experiment: Experiment, data: DataSpec, from_step: int) -> WandbTracker:
    return WandbTracker(
        experiment.wandb,
        run_id=run.name,
        name=experiment.name,
        folder=run.path,
        run_config=experiment.to_dict(),
        metadata={**slurm_facts(), "host": os.uname().nodename, "run": str(run.path), "data": data.checksum},
        say=say,
        journal=run.journal,
        from_step=from_step,
    )
