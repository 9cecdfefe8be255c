"""Lightning's way into the journal."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hpc_dl.tracking.journal import JournalWriter


class JournalLogger(Logger):
    """Writes whatever Lightning logs to the run's journal; only rank zero writes.

    Unlike W&B's, the journal's errors are not swallowed: a run that can no longer record what it
    does should stop.
    """

    def __init__(self, folder: Path, attempt: int = 0, from_step: int = 0) -> None:
        """Nothing is written yet: Lightning asks for :attr:`experiment` when the ranks are known.

        Args:
            folder: the run's journal folder.
            attempt: number of the attempt, from 0.
            from_step: the ``global_step`` of the checkpoint that the attempt goes on from; 0 for a
                fresh start.
        """
        super().__init__()
        self._folder = folder
        self._attempt = attempt
        self._from_step = from_step
        self._writer: JournalWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> JournalWriter:
        """The attempt's writer; on the other ranks a dummy that ignores everything."""
        if self._writer is None:
            self._writer = JournalWriter(self._folder, self._attempt, self._from_step)
        return self._writer

    @property
    def name(self) -> str:
        """What Lightning calls the logger."""
        return "journal"

    @property
    def version(self) -> int:
        """The number of the attempt."""
        return self._attempt

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row; Lightning puts the ``epoch`` among the metrics.

        Raises:
            HpcDlError: a metric has one of the journal's own names.
            OSError: the journal cannot be written.
        """
        assert step is not None, "Lightning gives the step with every row"
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        self.experiment.write(values, int(step), None if epoch is None else int(epoch))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run folder holds the resolved configuration."""

    @rank_zero_only
    def sync(self) -> None:
        """Put the rows so far on the disk itself, before a checkpoint is declared done.

        Raises:
            OSError: the disk is full or gone.
        """
        if self._writer is not None:
            self._writer.sync()

    @rank_zero_only
    def close(self) -> None:
        """Put the journal on the disk, at the very end.

        Not in ``finalize``, which Lightning calls after the training and again after the test.
        """
        if self._writer is not None:
            self._writer.close()
