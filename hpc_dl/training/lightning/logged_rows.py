"""What a module logs with ``self.log``, written with the step of all other rows.

Lightning (2.6) numbers its rows by batches, one less than the optimizer steps done, a validation on
steps by its own batches, and any row by a metric named ``step``. Here every row of a run has the
number of optimizer steps done, so that all metrics of one moment form one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.connectors.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import convert_tensors_to_scalars

from hpc_dl.tracking.journal import without_reserved_names


class LoggedRows(_LoggerConnector):
    """Lightning's connector between ``self.log`` and the loggers, with our step and epoch."""

    def __init__(self, trainer: pl.Trainer, inspect: Callable[[pl.Trainer, Mapping[str, float]], None]) -> None:
        """Replace the Trainer's own connector, before ``fit``.

        Args:
            trainer: the Trainer.
            inspect: gets each row of the training, to find out that it has diverged.
        """
        super().__init__(trainer)
        self._inspect = inspect
        trainer._logger_connector = self

    @property
    def should_update_logs(self) -> bool:
        """Whether the values of this step are written: also after an epoch's last batch."""
        return super().should_update_logs or (self.trainer.training and self.trainer.is_last_batch)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Give the loggers one row.

        Args:
            metrics: values by name.
            step: Lightning's step, which is ignored.
        """
        trainer = self.trainer
        if not trainer.loggers or not metrics:
            return
        self._logged_metrics.update(metrics)
        scalars: dict[str, Any] = convert_tensors_to_scalars(metrics)
        row = without_reserved_names(scalars)
        if not trainer.testing:  # a test runs after the last epoch and belongs to no epoch
            row["epoch"] = float(trainer.current_epoch)
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)
        if trainer.training:
            self._inspect(trainer, row)
