"""The task: what is predicted, by which loss it is learned, by which metrics it is judged.

The task comes from the data (``data.task``), not from the architecture: a network only gives
``output_shape`` numbers for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import MetricCollection

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError, Fault, nearest
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LOSSES, LossConfig, LossName, class_weights, loss_faults
from hpc_dl.learning.metrics import METRICS, default_metrics


class Task:
    """Loss and metrics of a task on one data set.

    Shapes of outputs and targets, B samples of K classes or values:

    * ``classification``: (B, K) and (B,) class numbers; ``multilabel``: (B, K) and (B, K) of 0 and
      1.
    * ``regression``: (B, K) and (B, K) or, for one value, (B,).
    * one class at each position (``segmentation``, ``sequence_labeling``, …): (B, K, *positions)
      and (B, *positions) class numbers; (all steps, K) where samples are ragged.
    * ``reconstruction``: (B, *input_shape), and the scaled inputs themselves.

    Attributes:
        name: of the task.
        data: what it is judged on.
        config: the ``loss`` section.
    """

    def __init__(
        self,
        config: LossConfig,
        data: DataSpec,
        metrics: Sequence[str] | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        """Find loss and metrics.

        Args:
            config: the ``loss`` section.
            data: what is learned from.
            metrics: their names; None for the usual ones of the task.
            class_counts: how often each class, or label, is there in the training split: samples,
                or their steps or pixels; only ``loss.class_weights: balanced`` needs them.

        Raises:
            ConfigError: the loss or a metric does not fit the task, or the classes cannot be
                balanced.
        """
        self.name: TaskName = data.task
        self.data = data
        self.config = config
        loss = COMPATIBLE_LOSSES[self.name][0] if config.name == "auto" else config.name
        faults = loss_faults(config, loss, data)
        known = METRICS[self.name]
        self._metrics = default_metrics(data) if metrics is None else tuple(metrics)
        faults += [
            Fault(
                "metrics",
                f"does not fit the task {self.name} (data.task)",
                value=name,
                allowed=", ".join(known),
                remedy=nearest(name, known),
            )
            for name in self._metrics
            if name not in known
        ]
        if faults:
            raise ConfigError(*faults)
        self._criterion = LOSSES.get(loss)
        self._of_logits = loss == "bce"
        self._weights = class_weights(config, data, class_counts)
        self._class_counts = class_counts

    def with_loss(self, name: LossName) -> Task:
        """The same task with another loss.

        Raises:
            ConfigError: it does not fit, or does not know what the ``loss`` section asks for.
        """
        return Task(self.config.model_copy(update={"name": name}), self.data, self._metrics, self._class_counts)

    @property
    def weights(self) -> torch.Tensor | None:
        """What the classes count in the loss, (K,); of several labels, one that is set. None: all
        alike.
        """
        return self._weights

    @property
    def num_outputs(self) -> int:
        """Classes, or values of a sample."""
        return self.data.num_outputs

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What a network gives for one sample of a dense batch, without the batch."""
        if self.name == "reconstruction":
            return self.data.input_shape
        if self.name in PER_POSITION:
            return (self.num_outputs, *self.data.targets[0].shape)
        return (self.num_outputs,)

    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Mean loss of a batch, a scalar."""
        assert self._criterion is not None, f"{self.name} has a loss of its own"
        if self._weights is not None:
            self._weights = self._weights.to(outputs)
        return self._criterion(outputs, self._aligned(outputs, targets), self.config, self._weights)

    def metrics(self, prefix: str) -> MetricCollection:
        """New, empty metrics whose names begin with ``prefix`` (``val/``)."""
        makers = METRICS[self.name]
        return MetricCollection({name: makers[name](self.num_outputs) for name in self._metrics}, prefix=prefix)

    def update(self, metrics: MetricCollection, outputs: torch.Tensor, targets: Any) -> None:
        """Add a batch to the metrics."""
        # Torchmetrics takes logits for probabilities if all those of a batch happen to lie in [0,
        # 1].
        judged = outputs.sigmoid() if self._of_logits else outputs
        metrics.update(judged, self._aligned(outputs, targets))

    def weight(self, targets: Any) -> int:
        """What a batch counts in the mean of a split's losses: its samples, or their steps where
        they are ragged.
        """
        return len(targets.values) if isinstance(targets, Ragged) else len(targets)

    def _aligned(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        values: torch.Tensor = targets.values if isinstance(targets, Ragged) else targets
        if self.name == "regression":
            # (B, 1) against (B,) would broadcast to (B, B).
            return values.reshape(outputs.shape)
        return values
