"""The ``metrics`` of a task, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassExactMatch,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassStatScores,
    MultilabelAccuracy,
    MultilabelAUROC,
    MultilabelConfusionMatrix,
    MultilabelExactMatch,
    MultilabelF1Score,
    MultilabelStatScores,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from hpc_dl.data.spec import PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError

#: A label that no metric counts: there is no step.
IGNORED = -100


class _R2(R2Score):
    """NaN, rather than an error at the training's end, for a single sample: it has no variance to
    explain.
    """

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"), device=self.device)


class _AUROC(MulticlassAUROC):
    """Of logits. Torchmetrics takes those of a batch for probabilities if they happen to lie in [0,
    1].
    """

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        super().update(outputs.softmax(1), targets)


class DiceOfForeground(MulticlassConfusionMatrix):
    """The mean Dice coefficient of all classes but the first that are there or were found; NaN if
    none is.
    """

    def compute(self) -> Tensor:
        """A scalar."""
        return per_class(super().compute())["f1"][1:].nanmean()


class IoUOfForeground(MulticlassConfusionMatrix):
    """The mean intersection over union of all classes but the first that are there or were found;
    NaN if none is.
    """

    def compute(self) -> Tensor:
        """A scalar."""
        return per_class(super().compute())["iou"][1:].nanmean()


class BalancedAccuracy(MulticlassStatScores):
    """The mean of the classes' sensitivities. Torchmetrics' macro accuracy takes 0 for one that is
    only predicted.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None)

    def compute(self) -> Tensor:
        """A scalar."""
        hits, _, _, _, there = super().compute().unbind(-1)
        return (hits / there).nanmean()


class MultilabelBalancedAccuracy(MultilabelStatScores):
    """The mean of the labels' (sensitivity + specificity) / 2; of one of both where a label has
    only that.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, average=None)

    def compute(self) -> Tensor:
        """A scalar."""
        hits, false_alarms, rejections, _, there = super().compute().unbind(-1)
        return torch.stack([hits / there, rejections / (rejections + false_alarms)]).nanmean(0).mean()


class SquaredErrorPerSample(MeanMetric):
    """Sum of a sample's squared errors, the mean over samples: (B, …) outputs and targets."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        super().update((outputs - targets).square().flatten(1).sum(1))


class BitsPerStep(MeanMetric):
    """Mean −log2 of the probability of what came next: (N, K, …) outputs and (N, …) targets."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        nats = torch.nn.functional.cross_entropy(outputs, targets)
        super().update(nats / math.log(2), weight=targets.numel())


def _multiclass() -> dict[str, Callable[[int], Metric]]:
    return {
        "accuracy": lambda k: MulticlassAccuracy(k, average="micro"),
        "balanced_accuracy": lambda k: BalancedAccuracy(k),
        "f1": lambda k: MulticlassF1Score(k, average="macro"),
        "top5": lambda k: MulticlassAccuracy(k, average="micro", top_k=min(5, k)),
        "auroc": lambda k: _AUROC(k),
    }


def _per_position() -> dict[str, Callable[[int], Metric]]:
    # A class's Dice coefficient is its F1 score over all pixels.
    return _multiclass() | {
        "dice": lambda k: MulticlassF1Score(k, average="macro"),
        "iou": lambda k: MulticlassJaccardIndex(k, average="macro"),
        "dice_foreground": lambda k: DiceOfForeground(k),
        "iou_foreground": lambda k: IoUOfForeground(k),
        "bits_per_step": lambda _: BitsPerStep(),
    }


def _values() -> dict[str, Callable[[int], Metric]]:
    return {"mse": lambda _: MeanSquaredError(), "mae": lambda _: MeanAbsoluteError(), "r2": lambda _: _R2()}


#: For each task the metrics that fit it, by name; each is made for so many outputs.
METRICS: dict[TaskName, dict[str, Callable[[int], Metric]]] = {
    "classification": _multiclass(),
    "multilabel": {
        "accuracy": lambda k: MultilabelAccuracy(k, average="micro"),
        "balanced_accuracy": lambda k: MultilabelBalancedAccuracy(k),
        "f1": lambda k: MultilabelF1Score(k, average="macro"),
        "exact_match": lambda k: MultilabelExactMatch(k),
        "auroc": lambda k: MultilabelAUROC(k),
    },
    "regression": _values(),
    **dict.fromkeys(PER_POSITION, _per_position()),
    # Of labels (B, longest): each target with its end, one class more, and IGNORED after it.
    "sequence_to_sequence": {
        "accuracy": lambda k: MulticlassAccuracy(k + 1, average="micro", ignore_index=IGNORED),
        "exact_match": lambda k: MulticlassExactMatch(k + 1, ignore_index=IGNORED),
    },
    "reconstruction": {"mse": lambda _: MeanSquaredError(), "squared_error": lambda _: SquaredErrorPerSample()},
    "generation": {},
    "embedding": {},
}


def default_metrics(data: DataSpec) -> tuple[str, ...]:
    """The metrics of a task for which none are named."""
    if data.task == "classification":
        names = ("accuracy", "balanced_accuracy", "f1")
        return (*names, "auroc") if data.num_outputs == 2 else names
    if data.task in ("sequence_labeling", "node_classification"):
        return ("accuracy", "balanced_accuracy", "f1")
    if data.task == "language_modeling":
        return ("accuracy", "bits_per_step")
    if data.task == "segmentation":
        return ("accuracy", "dice", "iou")
    if data.task == "multilabel":
        return ("accuracy", "f1", "exact_match")
    return tuple(METRICS[data.task])


def confusion_matrix(data: DataSpec) -> Metric:
    """An empty confusion matrix: (K, K), true classes down, predicted ones across; (K, 2, 2) for
    several labels.

    To be updated with outputs and targets as the metrics are
    (:meth:`hpc_dl.learning.task.Task.update`).

    Raises:
        ConfigError: the task has no classes of single samples, steps or pixels.
    """
    if data.task == "multilabel":
        return MultilabelConfusionMatrix(data.num_outputs)
    if data.task not in ("classification", *PER_POSITION):
        raise ConfigError.at("data.task", "has no confusion matrix", value=data.task)
    return MulticlassConfusionMatrix(data.num_outputs)


def per_class(confusion: Tensor) -> dict[str, Tensor]:
    """Precision, recall, F1 score (of pixels: Dice coefficient) and intersection over union of each
    class.

    Args:
        confusion: the counts, (K, K), true classes down, predicted ones across.

    Returns:
        By name, (K,) each; NaN where there is nothing to judge.
    """
    hits, true, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {
        "precision": hits / found,
        "recall": hits / true,
        "f1": 2 * hits / (true + found),
        "iou": hits / (true + found - hits),
    }
