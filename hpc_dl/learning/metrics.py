"""The metrics of each task by name. To add a metric, add its entry to the tables below."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

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

from hpc_dl.data.spec import IGNORED, PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError, Fault, nearest


class _R2(R2Score):
    """R², but NaN for a single sample, where torchmetrics raises an error."""

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"), device=self.device)


class _AUROC(MulticlassAUROC):
    """AUROC of logits, which torchmetrics treats as probabilities if all are in [0, 1]."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        super().update(outputs.softmax(1), targets)


class DiceOfForeground(MulticlassConfusionMatrix):
    """Mean Dice coefficient of all classes but the first; NaN if none is present or predicted."""

    def compute(self) -> Tensor:
        """The metric, a scalar."""
        return per_class(super().compute())["f1"][1:].nanmean()


class IoUOfForeground(MulticlassConfusionMatrix):
    """Mean IoU of all classes but the first; NaN if none is present or predicted."""

    def compute(self) -> Tensor:
        """The metric, a scalar."""
        return per_class(super().compute())["iou"][1:].nanmean()


class F1(MulticlassF1Score):
    """F1 score of class 1 if there are two classes, otherwise the mean of all classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none" if num_classes == 2 else "macro")

    def compute(self) -> Tensor:
        """The metric, a scalar."""
        score: Tensor = super().compute()
        return score[1] if score.ndim else score


class BalancedAccuracy(MulticlassStatScores):
    """Mean sensitivity of the classes. Torchmetrics counts an absent but predicted class as 0."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average=None)

    def compute(self) -> Tensor:
        """The metric, a scalar."""
        true_positives, _, _, _, support = super().compute().unbind(-1)
        return (true_positives / support).nanmean()


class MultilabelBalancedAccuracy(MultilabelStatScores):
    """Mean of the labels' (sensitivity + specificity) / 2, or the one of them that exists."""

    def __init__(self, num_labels: int) -> None:
        super().__init__(num_labels, average=None, ignore_index=IGNORED)

    def compute(self) -> Tensor:
        """The metric, a scalar."""
        true_positives, false_positives, true_negatives, _, support = super().compute().unbind(-1)
        specificity = true_negatives / (true_negatives + false_positives)
        return torch.stack([true_positives / support, specificity]).nanmean(0).mean()


class SquaredErrorPerSample(MeanMetric):
    """Sum of the squared errors of a sample, averaged over samples: outputs and targets (B, …)."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        super().update((outputs - targets).square().flatten(1).sum(1))


class BitsPerStep(MeanMetric):
    """Mean −log2 of the next token's probability: outputs (N, K, …), targets (N, …)."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        """Add a batch."""
        nats = torch.nn.functional.cross_entropy(outputs, targets)
        super().update(nats / math.log(2), weight=targets.numel())


#: Builds an empty metric for a number of outputs.
Builder = Callable[[int], Metric]


def _top(k: int) -> Builder:
    return lambda num_classes: MulticlassAccuracy(num_classes, average="micro", top_k=k)


def _multiclass_metrics() -> dict[str, Builder]:
    return {
        "accuracy": lambda k: MulticlassAccuracy(k, average="micro"),
        "balanced_accuracy": lambda k: BalancedAccuracy(k),
        "f1": lambda k: F1(k),
        "f1_macro": lambda k: MulticlassF1Score(k, average="macro"),
        "f1_micro": lambda k: MulticlassF1Score(k, average="micro"),
        "f1_weighted": lambda k: MulticlassF1Score(k, average="weighted"),
        "top5": _top(5),
        "auroc": lambda k: _AUROC(k),
    }


def _per_position_metrics() -> dict[str, Builder]:
    # The Dice coefficient of a class is its F1 score over all pixels.
    return _multiclass_metrics() | {
        "dice": lambda k: MulticlassF1Score(k, average="macro"),
        "iou": lambda k: MulticlassJaccardIndex(k, average="macro"),
        "dice_foreground": lambda k: DiceOfForeground(k),
        "iou_foreground": lambda k: IoUOfForeground(k),
        "bits_per_step": lambda _: BitsPerStep(),
    }


def _value_metrics() -> dict[str, Builder]:
    return {"mse": lambda _: MeanSquaredError(), "mae": lambda _: MeanAbsoluteError(), "r2": lambda _: _R2()}


#: The metrics that fit each task, by name; ``top5`` stands for any number, see :func:`builder`.
METRICS: dict[TaskName, dict[str, Builder]] = {
    "classification": _multiclass_metrics(),
    "multilabel": {
        "accuracy": lambda k: MultilabelAccuracy(k, average="micro", ignore_index=IGNORED),
        "balanced_accuracy": lambda k: MultilabelBalancedAccuracy(k),
        "f1": lambda k: MultilabelF1Score(k, average="macro", ignore_index=IGNORED),
        "f1_macro": lambda k: MultilabelF1Score(k, average="macro", ignore_index=IGNORED),
        "f1_micro": lambda k: MultilabelF1Score(k, average="micro", ignore_index=IGNORED),
        "f1_weighted": lambda k: MultilabelF1Score(k, average="weighted", ignore_index=IGNORED),
        "exact_match": lambda k: MultilabelExactMatch(k, ignore_index=IGNORED),
        "auroc": lambda k: MultilabelAUROC(k, ignore_index=IGNORED),
    },
    "regression": _value_metrics(),
    **dict.fromkeys(PER_POSITION, _per_position_metrics()),
    # Targets (B, T): symbols, an end symbol (class K), then IGNORED.
    "sequence_to_sequence": {
        "accuracy": lambda k: MulticlassAccuracy(k + 1, average="micro", ignore_index=IGNORED),
        "exact_match": lambda k: MulticlassExactMatch(k + 1, ignore_index=IGNORED),
    },
    "reconstruction": {"mse": lambda _: MeanSquaredError(), "squared_error": lambda _: SquaredErrorPerSample()},
    "generation": {},
    "embedding": {},
}

_TOP = re.compile(r"top([1-9]\d*)")

_DEFAULTS: dict[TaskName, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "f1"),
    "multilabel": ("accuracy", "f1", "exact_match"),
    "regression": ("mse", "mae", "r2"),
    "segmentation": ("accuracy", "dice", "iou"),
    "sequence_labeling": ("accuracy", "balanced_accuracy", "f1"),
    "node_classification": ("accuracy", "balanced_accuracy", "f1"),
    "language_modeling": ("accuracy", "bits_per_step"),
    "sequence_to_sequence": ("accuracy", "exact_match"),
    "reconstruction": ("mse", "squared_error"),
    "generation": (),
    "embedding": (),
}


def default_metrics(data: DataSpec) -> tuple[str, ...]:
    """Return the names of the metrics that are used where the ``metrics`` key is not given."""
    names = _DEFAULTS[data.task]
    return (*names, "auroc") if data.task == "classification" and data.num_outputs == 2 else names


def builder(name: str, task: TaskName) -> Builder | None:
    """Return what builds the metric of that name, ``top3`` and the like included; None if none."""
    top = _TOP.fullmatch(name)
    return _top(int(top[1])) if top and "top5" in METRICS[task] else METRICS[task].get(name)


def metric_faults(names: Sequence[str], data: DataSpec) -> list[Fault]:
    """Return which metrics do not fit the task, or are 1 for any prediction."""
    known, k = METRICS[data.task], data.num_outputs
    faults = []
    for name in names:
        if builder(name, data.task) is None:
            problem, allowed = f"does not fit the task {data.task} (data.task)", ", ".join(known)
            faults.append(Fault("metrics", problem, value=name, allowed=allowed, remedy=nearest(name, known)))
        elif (top := _TOP.fullmatch(name)) and int(top[1]) >= k:
            allowed = "top1" if k < 3 else f"top1 to top{k - 1}"
            faults.append(Fault("metrics", f"is 1 for any prediction of {k} classes", value=name, allowed=allowed))
    return faults


def confusion_matrix(data: DataSpec) -> Metric:
    """Return an empty confusion matrix, to be updated as metrics are (see ``Task.update``).

    Returns:
        A metric of shape (K, K), true classes in rows and predicted classes in columns; (K, 2, 2)
        for multilabel.

    Raises:
        ConfigError: the task does not predict classes.
    """
    if data.task == "multilabel":
        return MultilabelConfusionMatrix(data.num_outputs, ignore_index=IGNORED)
    if data.task not in ("classification", *PER_POSITION):
        raise ConfigError.at("data.task", "has no confusion matrix", value=data.task)
    return MulticlassConfusionMatrix(data.num_outputs, ignore_index=IGNORED if data.ignores else None)


def per_class(confusion: Tensor) -> dict[str, Tensor]:
    """Return precision, recall, F1 score (for pixels: Dice coefficient) and IoU of each class.

    Args:
        confusion: the counts (K, K), true classes in rows and predicted classes in columns.

    Returns:
        Values (K,) by name; NaN where they are 0 / 0.
    """
    correct, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {
        "precision": correct / predicted,
        "recall": correct / true,
        "f1": 2 * correct / (true + predicted),
        "iou": correct / (true + predicted - correct),
    }
