"""The task: what is predicted, by which loss it is learned (the ``loss`` section), by which metrics it is judged.

The task comes from the data (``data.task``), not from the architecture: a network only gives ``num_outputs`` numbers
for each sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from hpc_dl.data.spec import DataSpec, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.schema import Section

# (name of the loss) → (its module, the tasks that it fits)
_LOSSES: dict[str, tuple[Callable[[], nn.Module], TaskName]] = {
    "cross_entropy": (nn.CrossEntropyLoss, "classification"),
    "mse": (nn.MSELoss, "regression"),
    "l1": (nn.L1Loss, "regression"),
    "huber": (nn.HuberLoss, "regression"),
}


class LossConfig(Section):
    """What is minimised."""

    name: Literal["auto", "cross_entropy", "mse", "l1", "huber"] = "auto"
    """``auto`` is ``cross_entropy`` for classes and ``mse`` for values."""


class Task:
    """Loss and metrics of a task on one data set.

    Shapes: outputs are (batch, num_outputs); targets are (batch,) class numbers for classification, and
    (batch, num_outputs) or, for one output, (batch,) values for regression.

    Raises:
        ConfigError: the loss does not fit the task.
    """

    def __init__(self, config: LossConfig, data: DataSpec) -> None:
        self.name: TaskName = data.task
        self.num_outputs = data.num_outputs
        fitting = [loss for loss, (_, task) in _LOSSES.items() if task == self.name]
        if not data.is_dense or not fitting:
            raise ConfigError.at(
                "data",
                f"gives {data.kind}, for which hpc_dl has no architecture yet",
                remedy="train a LightningModule of your own on it (`model.class`)",
            )
        loss = fitting[0] if config.name == "auto" else config.name
        if loss not in fitting:
            raise ConfigError.at(
                "loss.name",
                f"does not fit {data.file}, whose targets are made for {self.name} (data.task)",
                value=loss,
                allowed=", ".join(fitting),
            )
        self._criterion = _LOSSES[loss][0]()

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch, a scalar."""
        if self.name == "regression":
            targets = targets.reshape(outputs.shape)
        result: torch.Tensor = self._criterion(outputs, targets)
        return result

    def metrics(self, prefix: str) -> MetricCollection:
        """New, empty metrics whose names begin with ``prefix`` (``val/``)."""
        if self.name == "classification":
            classes = self.num_outputs
            return MetricCollection(
                {
                    "accuracy": MulticlassAccuracy(classes, average="micro"),
                    "balanced_accuracy": MulticlassAccuracy(classes, average="macro"),
                    "f1": MulticlassF1Score(classes, average="macro"),
                },
                prefix=prefix,
            )
        return MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError(), "r2": _R2()}, prefix=prefix)

    def update(self, metrics: MetricCollection, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add a batch to the metrics."""
        if self.name == "regression":
            targets = targets.reshape(outputs.shape)
        metrics.update(outputs, targets)


class _R2(R2Score):
    """NaN, rather than an error at the training's end, for a single sample: it has no variance to explain."""

    def compute(self) -> torch.Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"), device=self.device)
