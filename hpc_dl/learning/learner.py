"""The LightningModule that every architecture extends: how it learns, and how its evaluation is
told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.optimizers import OptimizerConfig
from hpc_dl.learning.schedules import Plateau, ScheduleConfig
from hpc_dl.learning.task import Task


@dataclass(frozen=True)
class Learning:
    """How a network learns: everything that is not the network itself.

    Attributes:
        task: loss and metrics.
        optimizer: the ``optimizer`` section.
        schedule: the ``schedule`` section.
        total_steps: optimizer steps of the whole training, the horizon of the schedule.
    """

    task: Task
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    total_steps: int

    @property
    def data(self) -> DataSpec:
        """What is learned from."""
        return self.task.data


class Learner(pl.LightningModule):
    """Optimizer, schedule, and one row of metrics for each evaluation.

    Training metrics are gathered by a callback (see ``hpc_dl.training``): a ``self.log`` in each
    step costs more than a small network itself.
    """

    def __init__(self, learning: Learning) -> None:
        super().__init__()
        self.learning = learning

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule: stepped after each optimizer step, or by what it watches
        after an epoch.

        Raises:
            ConfigError: there is no validation that gives what the schedule watches.
        """
        schedule, total_steps = self.learning.schedule, self.learning.total_steps
        optimizer = self.learning.optimizer.build(p for p in self.parameters() if p.requires_grad)
        how: dict[str, Any] = {"scheduler": schedule.build(optimizer, total_steps), "interval": "step"}
        if isinstance(schedule, Plateau):
            if "val" not in self.learning.data.sizes or not self.trainer.enable_validation:
                raise ConfigError.at(
                    "schedule.name",
                    "there is no validation to watch",
                    value=schedule.name,
                    remedy="choose another schedule, or see to a validation split (data.splits, limit_val_batches)",
                )
            how |= {"interval": "epoch", "monitor": schedule.monitor, "reduce_on_plateau": True}
            how["frequency"] = self.trainer.check_val_every_n_epoch or 1
        return {"optimizer": optimizer, "lr_scheduler": how}

    def log_evaluation(self, split: str, values: Mapping[str, torch.Tensor]) -> None:
        """Write the row of an evaluation, already one for all ranks.

        Args:
            split: ``val`` or ``test``.
            values: scalars by their full names (``val/loss``).
        """
        # To the loggers by hand: Lightning would give the row the number of the step before.
        self.log_dict(dict(values), logger=False)
        if self.trainer.sanity_checking:
            return
        row = {name: float(value) for name, value in values.items()}
        if split == "val":  # the test comes after the last epoch, and belongs to none
            row["epoch"] = float(self.current_epoch)
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step)
