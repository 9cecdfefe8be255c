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
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MultilabelAccuracy,
    MultilabelAUROC,
    MultilabelExactMatch,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from hpc_dl.data.spec import DataSpec, TaskName


class _R2(R2Score):
    """NaN, rather than an error at the training's end, for a single sample: it has no variance to explain."""

    def compute(self) -> Tensor:
        return super().compute() if self.total >= 2 else torch.tensor(float("nan"), device=self.device)


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
        "balanced_accuracy": lambda k: MulticlassAccuracy(k, average="macro"),
        "f1": lambda k: MulticlassF1Score(k, average="macro"),
        "top5": lambda k: MulticlassAccuracy(k, average="micro", top_k=min(5, k)),
        "auroc": lambda k: MulticlassAUROC(k),
    }


def _labelling() -> dict[str, Callable[[int], Metric]]:
    # A class's Dice coefficient is its F1 score over all pixels.
    return _multiclass() | {
        "dice": lambda k: MulticlassF1Score(k, average="macro"),
        "iou": lambda k: MulticlassJaccardIndex(k, average="macro"),
        "bits_per_step": lambda _: BitsPerStep(),
    }


def _values() -> dict[str, Callable[[int], Metric]]:
    return {"mse": lambda _: MeanSquaredError(), "mae": lambda _: MeanAbsoluteError(), "r2": lambda _: _R2()}


#: For each task the metrics that fit it, by name; each is made for so many outputs.
METRICS: dict[TaskName, dict[str, Callable[[int], Metric]]] = {
    "classification": _multiclass(),
    "multilabel": {
        "accuracy": lambda k: MultilabelAccuracy(k, average="micro"),
        "balanced_accuracy": lambda k: MultilabelAccuracy(k, average="macro"),
        "f1": lambda k: MultilabelF1Score(k, average="macro"),
        "exact_match": lambda k: MultilabelExactMatch(k),
        "auroc": lambda k: MultilabelAUROC(k),
    },
    "regression": _values(),
    "labelling": _labelling(),
    "transduction": {"accuracy": lambda k: MulticlassAccuracy(k, average="micro")},
    "reconstruction": {"mse": lambda _: MeanSquaredError(), "squared_error": lambda _: SquaredErrorPerSample()},
    "generation": {},
    "embedding": {},
}


def usual(data: DataSpec) -> tuple[str, ...]:
    """The metrics of a task for which none are named."""
    if data.task == "classification":
        names = ("accuracy", "balanced_accuracy", "f1")
        return (*names, "auroc") if data.num_outputs == 2 else names
    if data.task == "labelling":
        field = data.inputs[0]
        if field.window is not None and field.dtype.startswith(("int", "uint")):
            return ("accuracy", "bits_per_step")
        by_step = field.ragged or field.window is not None
        return ("accuracy", "balanced_accuracy", "f1") if by_step else ("accuracy", "dice", "iou")
    if data.task == "multilabel":
        return ("accuracy", "f1", "exact_match")
    return tuple(METRICS[data.task])
