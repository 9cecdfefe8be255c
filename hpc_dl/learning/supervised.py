"""The LightningModule that every supervised architecture extends with its network."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics import MeanMetric

from hpc_dl.learning.optimizers import OptimizerConfig
from hpc_dl.learning.schedules import ScheduleConfig
from hpc_dl.learning.task import Task

Batch = tuple[torch.Tensor, torch.Tensor]


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


class Supervised(pl.LightningModule):
    """Training, validation and test of a network that maps inputs to ``task.num_outputs`` numbers.

    A subclass builds its layers in ``__init__`` and documents its shapes in ``forward``; nothing else is its business.
    Training metrics are gathered by a callback (see ``hpc_dl.training``): a ``self.log`` in each step costs more than a
    small network itself.
    """

    def __init__(self, learning: Learning) -> None:
        super().__init__()
        self.learning = learning
        self.evaluation = nn.ModuleDict(
            {split: learning.task.metrics(f"{split}/") for split in ("val", "test")}
            | {f"{split}_loss": MeanMetric() for split in ("val", "test")}
        )

    @abstractmethod
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch of inputs (batch, *input_shape) to outputs (batch, num_outputs)."""

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The mean loss of a batch, a scalar."""
        x, y = batch
        return self.learning.task.loss(self(x), y)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather loss and metrics of a validation batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather loss and metrics of a test batch."""
        self._evaluate("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss`` and the task's metrics over the whole split and all ranks."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/loss`` and the task's metrics over the whole split and all ranks."""
        self._log_evaluation("test")

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule stepped after each optimizer step."""
        optimizer = self.learning.optimizer.build(p for p in self.parameters() if p.requires_grad)
        scheduler = self.learning.schedule.build(optimizer, self.learning.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _evaluate(self, split: str, batch: Batch) -> None:
        x, y = batch
        outputs = self(x)
        task = self.learning.task
        self.evaluation[f"{split}_loss"].update(task.loss(outputs, y), weight=len(x))  # type: ignore[operator]
        task.update(self.evaluation[split], outputs, y)  # type: ignore[arg-type]

    def _log_evaluation(self, split: str) -> None:
        # torchmetrics gathers the states of all ranks in compute(), so these values are already the global ones.
        loss, metrics = self.evaluation[f"{split}_loss"], self.evaluation[split]
        values = {f"{split}/loss": loss.compute(), **metrics.compute()}  # type: ignore[operator]
        loss.reset()  # type: ignore[operator]
        metrics.reset()  # type: ignore[operator]
        # To the loggers by hand: Lightning would give the row the number of the step before.
        self.log_dict(values, logger=False)
        if not self.trainer.sanity_checking:
            row = {name: float(value) for name, value in values.items()}
            if split == "val":  # the test comes after the last epoch, and belongs to none
                row["epoch"] = float(self.current_epoch)
            for logger in self.loggers:
                logger.log_metrics(row, step=self.global_step)
