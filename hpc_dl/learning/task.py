"""The task: what is predicted, the loss that is minimized, and the metrics that evaluate it.

The data define the task (``data.task``), not the architecture: a network only returns
``output_shape`` numbers for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics import MetricCollection

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED, PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.learning.class_weights import class_weights
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LOSSES, MASKS_ITSELF, LossConfig, LossName, loss_faults
from hpc_dl.learning.metrics import builder, default_metrics, metric_faults


class Task:
    """Loss and metrics of a task on one data set.

    Shapes of outputs and targets, with B samples and K classes or values:

    * ``classification``: (B, K) and (B,) class indices.
    * ``multilabel``: (B, K) and (B, K) of 0 and 1.
    * ``regression``: (B, K) and (B, K) or, for one value, (B,).
    * a class per position (``segmentation``, ``sequence_labeling``, …): (B, K, *positions) and (B,
      *positions) class indices; (total steps, K) and (total steps,) for ragged samples.
    * ``reconstruction``: (B, *input_shape), and the scaled inputs as targets.

    Attributes:
        name: name of the task.
        data: the specification of the data.
        config: the ``loss`` section.
    """

    def __init__(
        self,
        config: LossConfig,
        data: DataSpec,
        metrics: Sequence[str] | None = None,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        """Select loss and metrics.

        Args:
            config: the ``loss`` section.
            data: the specification of the data.
            metrics: names of the metrics; None for the task's defaults.
            class_counts: occurrences of each class or label in the training split, in samples,
                steps or pixels; required for ``loss.class_weights: balanced``.

        Raises:
            ConfigError: the loss or a metric does not fit the task, or the classes cannot be
                balanced.
        """
        self.name: TaskName = data.task
        self.data = data
        self.config = config
        loss_name = COMPATIBLE_LOSSES[self.name][0] if config.name == "auto" else config.name
        faults = loss_faults(config, loss_name, data)
        self._metrics = default_metrics(data) if metrics is None else tuple(metrics)
        faults += metric_faults(self._metrics, data)
        if faults:
            raise ConfigError(*faults)
        self._loss = LOSSES.get(loss_name)
        self._outputs_are_logits = loss_name == "bce"
        self._weights = class_weights(config, data, class_counts)
        self._class_counts = class_counts
        self._masks_itself = loss_name in MASKS_ITSELF

    def with_loss(self, name: LossName) -> Task:
        """Return the same task with another loss.

        Raises:
            ConfigError: that loss does not fit the task or the other keys of the ``loss`` section.
        """
        return Task(self.config.model_copy(update={"name": name}), self.data, self._metrics, self._class_counts)

    @property
    def weights(self) -> torch.Tensor | None:
        """The class weights in the loss, (K,), for multilabel of a set label; None: all equal."""
        return self._weights

    @property
    def num_outputs(self) -> int:
        """The number of classes, or of values of a sample."""
        return self.data.num_outputs

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of a network's outputs for one sample of a dense batch."""
        if self.name == "reconstruction":
            return self.data.input_shape
        if self.name in PER_POSITION:
            return (self.num_outputs, *self.data.targets[0].shape)
        return (self.num_outputs,)

    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Return the mean loss of a batch, a scalar."""
        assert self._loss is not None, f"the module computes the loss for {self.name}"
        if self._weights is not None:
            self._weights = self._weights.to(outputs)
        aligned = self._aligned(outputs, targets)
        if self.data.ignores and self.name != "multilabel":
            if not (aligned != IGNORED).any():  # the mean of nothing would be NaN
                return outputs.sum() * 0
            if not self._masks_itself:
                outputs, aligned = _labeled(outputs, aligned)
        return self._loss.function(outputs, aligned, self.config, self._weights)

    def metrics(self, prefix: str) -> MetricCollection:
        """Build empty metrics whose names start with ``prefix`` (``val/``)."""
        builders = {name: builder(name, self.name) for name in self._metrics}
        # Metrics with equal counts after the first batch share them from then on, but those
        # of top2 and top3 may be equal by chance.
        shared = not any(name.startswith("top") for name in self._metrics)
        return MetricCollection(
            {name: build(self.num_outputs) for name, build in builders.items() if build is not None},
            prefix=prefix,
            compute_groups=shared,
        )

    def update(self, metrics: MetricCollection, outputs: torch.Tensor, targets: Any) -> None:
        """Update the metrics with a batch."""
        # Torchmetrics treats a batch of logits as probabilities if all of them are in [0, 1].
        predictions = outputs.sigmoid() if self._outputs_are_logits else outputs
        aligned = self._aligned(outputs, targets)
        if self.data.ignores and self.name != "multilabel":
            predictions, aligned = _labeled(predictions, aligned)
            if not len(aligned):
                return
        metrics.update(predictions, aligned)

    def weight(self, targets: Any) -> int:
        """Return the weight of a batch in the mean loss.

        Its samples, or steps for ragged targets; where some have no class, all that have one.
        """
        values = targets.values if isinstance(targets, Ragged) else targets
        return int((values != IGNORED).sum()) if self.data.ignores else len(values)

    def _aligned(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        values: torch.Tensor = targets.values if isinstance(targets, Ragged) else targets
        if self.name == "regression":
            # (B, 1) against (B,) would broadcast to (B, B).
            return values.reshape(outputs.shape)
        return values


def _labeled(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs (n, K) and classes (n,) of all samples or positions that have a class."""
    known = targets != IGNORED
    return outputs.movedim(1, -1)[known], targets[known]
