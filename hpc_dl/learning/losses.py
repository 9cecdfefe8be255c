"""The ``loss`` section: what is minimised, by name, for each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.spec import TaskName
from hpc_dl.schema import Section

LossName = Literal["auto", "cross_entropy", "bce", "mse", "half_mse", "l1", "huber"]


class LossConfig(Section):
    """What is minimised."""

    name: LossName = "auto"
    """``auto``: ``cross_entropy`` for classes, ``bce`` for several labels of a sample, ``mse`` for values."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a label's weight that is spread over all classes, with ``cross_entropy`` (Szegedy et al., 2016)."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the sum of the weights' absolute values that is added to the training loss."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of half the sum of the weights' squares that is added to the training loss."""


def _cross_entropy(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    return functional.cross_entropy(outputs, targets, label_smoothing=config.label_smoothing)


def _bce(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Binary cross-entropy of logits: of each label by itself, or of each input that lies in [0, 1]."""
    return functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))


def _mse(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    return functional.mse_loss(outputs, targets)


def _half_mse(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """½ (output − target)², whose derivative is the error itself."""
    return functional.mse_loss(outputs, targets) / 2


def _l1(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    return functional.l1_loss(outputs, targets)


def _huber(outputs: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Squared up to an error of 1, then linear (Huber, 1964)."""
    return functional.huber_loss(outputs, targets)


Loss = Callable[[Tensor, Tensor, LossConfig], Tensor]

#: Mean losses of a batch by name; those that fit a task, its ``auto`` first.
LOSSES: dict[str, Loss] = {
    "cross_entropy": _cross_entropy,
    "bce": _bce,
    "mse": _mse,
    "half_mse": _half_mse,
    "l1": _l1,
    "huber": _huber,
}
FITTING: dict[TaskName, tuple[str, ...]] = {
    "classification": ("cross_entropy",),
    "multilabel": ("bce",),
    "regression": ("mse", "half_mse", "l1", "huber"),
    "labelling": ("cross_entropy",),
    "transduction": ("cross_entropy",),
    "reconstruction": ("mse", "half_mse", "l1", "huber", "bce"),
    # Networks that compete, and vectors of words, have losses of their own.
    "generation": ("auto",),
    "embedding": ("auto",),
}
assert set(LOSSES) | {"auto"} == set(get_args(LossName))
assert set(FITTING) == set(get_args(TaskName))


def penalty(parameters: list[torch.nn.Parameter], config: LossConfig) -> Tensor | None:
    """L1 and L2 penalty on weights (not on biases and scales, which have one axis), a scalar; None for no penalty."""
    if not (config.l1 or config.l2):
        return None
    weights = [parameter for parameter in parameters if parameter.ndim > 1 and parameter.requires_grad]
    total: Tensor | None = None
    for weight in weights:
        part = config.l1 * weight.abs().sum() + config.l2 / 2 * weight.square().sum()
        total = part if total is None else total + part
    return total
