"""The Lightning logger that writes the journal."""

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
    """Lightning logger that writes all metrics to the run's journal, from rank 0.

    Unlike those of W&B, its errors are raised: a run that can no longer record its metrics should
    stop.
    """

    def __init__(self, folder: Path, attempt: int = 0, from_step: int = 0) -> None:
        """Prepare the logger; Lightning requests :attr:`experiment` once the ranks are known.

        Args:
            folder: the run's journal folder.
            attempt: number of the attempt, from 0.
            from_step: ``global_step`` of the checkpoint from which the attempt resumes; 0 for a
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
        """The writer of the attempt's file; on ranks other than 0 a dummy that does nothing."""
        if self._writer is None:
            self._writer = JournalWriter(self._folder, self._attempt, self._from_step)
        return self._writer

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "journal"

    @property
    def version(self) -> int:
        """The number of the attempt."""
        return self._attempt

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row; Lightning passes the ``epoch`` as one of the metrics.

        Raises:
            HpcDlError: a metric has a name that the journal reserves.
            OSError: the journal cannot be written.
        """
        assert step is not None, "Lightning passes the step of every row"
        values = dict(metrics)
        epoch = values.pop("epoch", None)
        self.experiment.write(values, int(step), None if epoch is None else int(epoch))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has the resolved configuration."""

    @rank_zero_only
    def sync(self) -> None:
        """Flush all rows to the disk, which must happen before a checkpoint counts as complete.

        Raises:
            OSError: the disk is full or unavailable.
        """
        if self._writer is not None:
            self._writer.sync()

    @rank_zero_only
    def close(self) -> None:
        """Flush the journal to the disk and close it.

        This is not part of ``finalize``, which Lightning calls after the training and after the
        test.
        """
        if self._writer is not None:
            self._writer.close()
