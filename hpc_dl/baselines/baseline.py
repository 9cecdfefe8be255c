"""A fitted baseline and its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from hpc_dl.learning.task import Task


@dataclass(frozen=True)
class Baseline:
    """A baseline and the metrics that it reached.

    Attributes:
        name: as shown in tables.
        metrics: a value per seed by full name (``test/accuracy``); one value for deterministic
            models.
    """

    name: str
    metrics: dict[str, list[float]]


def evaluate(task: Task, split: str, outputs: torch.Tensor, targets: NDArray[Any]) -> dict[str, float]:
    """Compute the task's metrics, by full name.

    Args:
        task: chooses the metrics.
        split: the prefix of their names.
        outputs: in the form of a network's outputs: logits (N, K) or values.
        targets: (N,) class numbers, or (N, K) values or labels.
    """
    metrics = task.metrics(f"{split}/")
    task.update(metrics, outputs, torch.as_tensor(targets))
    return {name: float(value) for name, value in metrics.compute().items()}
