"""Diagnosis of a finished training: over- or underfitting, vanished gradients, inactive units.

The fit follows from the losses of both splits: high and high is underfitting, low training and high
validation loss is overfitting, low and low is good, high training and low validation loss is
suspicious. A loss is high compared with that of the best constant prediction. Two losses differ if
their difference is large compared with that, too, and with its scatter between batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.task import Task
from hpc_dl.training.advice import advise
from hpc_dl.training.model_inputs import preprocessed_on
from hpc_dl.training.unit_activity import UnitActivity

_SAMPLES = 1024
_BATCHES = 16
# Shares of the constant prediction's loss: a loss above _HIGH is high, two losses differ by _GAP.
_HIGH = 0.3
_GAP = 0.15
_SIGNIFICANT = 2.0  # standard errors
_DIVERGED = 10.0
_FALL = 0.03  # the share by which the last quarter of the validations lowers a loss that still falls
_FEWEST_VALIDATIONS = 3  # before that quarter
_NEGLIGIBLE = 0.05  # of the constant prediction's loss: longer training would gain little

# Losses whose value has no meaningful scale: the error rate is used instead.
_MARGIN_LOSSES = ("perceptron", "hinge")


def diagnose(
    model: Supervised, batches: HDF5DataModule, device: torch.device, validations: Sequence[float] = ()
) -> dict[str, Any]:
    """Diagnose a trained model on about a thousand training and validation samples.

    Args:
        model: with its final weights; its mode is restored, its gradients are cleared.
        batches: its data.
        device: where to compute.
        validations: the losses of all validations, in order.

    Returns:
        ``fit`` (``good``, ``overfit``, ``underfit``, ``unlikely``, ``diverged``; ``unknown``
        without a validation split), ``losses`` by ``train``, ``val`` and ``constant``, ``errors``:
        the standard errors of the first two;
        ``gradients``: the norm of each layer's gradient over that of its weights; ``dead`` and
        ``saturated``: shares of the units of an activation, unless zero; ``advice``: sentences.
    """
    task = model.recipe.task
    home = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.to(device).eval()
    try:
        train = _sample(batches, "train", model, device)
        with ExitStack() as hooks:
            activity = UnitActivity(model, hooks)
            losses, errors = {"constant": constant_loss(task, [y for _, y in train])}, {}
            losses["train"], errors["train"] = _mean_loss(model, train)
        gradients = _relative_gradients(model, train)
        if "val" in model.recipe.data.sizes:
            losses["val"], errors["val"] = _mean_loss(model, _sample(batches, "val", model, device))
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode
    fit, dead, saturated = classify_fit(losses, errors), activity.dead(), activity.saturated()
    falling = still_falling(validations) and validations[-1] > _NEGLIGIBLE * losses["constant"]
    return {
        "fit": fit,
        "losses": {name: round(value, 6) for name, value in losses.items()},
        "errors": {name: round(value, 6) for name, value in errors.items()},
        "gradients": {name: float(f"{value:.3g}") for name, value in gradients.items()},
        "dead": dead,
        "saturated": saturated,
        "advice": advise(fit, losses, gradients, dead, saturated, still_falling=falling, errors=errors),
    }


def classify_fit(losses: dict[str, float], errors: Mapping[str, float] = MappingProxyType({})) -> str:
    """The fit.

    Args:
        losses: of ``train``, ``val`` (if there is one) and ``constant``.
        errors: standard errors of ``train`` and ``val``; 0 if not given.
    """
    train, constant, val = losses["train"], losses["constant"], losses.get("val", losses["train"])
    if not (math.isfinite(train) and math.isfinite(val)) or train > _DIVERGED * constant > 0:
        return "diverged"
    high = _HIGH * constant
    if "val" not in losses:
        return "underfit" if train > high else "unknown"
    scatter = math.hypot(errors.get("train", 0.0), errors.get("val", 0.0))
    if not abs(val - train) > max(_GAP * constant, _SIGNIFICANT * scatter):
        return "underfit" if (train + val) / 2 > high else "good"
    if val > train:
        return "underfit" if train > high else "overfit"
    return "good" if train <= high else "underfit" if val > high else "unlikely"


def still_falling(validations: Sequence[float]) -> bool:
    """Whether the last quarter of the validations lowered the loss and the last is the lowest."""
    quarter = max(1, len(validations) // 4)
    before, after = validations[:-quarter], validations[-quarter:]
    return len(before) >= _FEWEST_VALIDATIONS and after[-1] == min(after) and after[-1] < (1 - _FALL) * min(before)


def constant_loss(task: Task, targets: list[Any]) -> float:
    """The loss of the best constant prediction: class frequencies, or the mean value."""
    values = torch.cat([(y.values if isinstance(y, Ragged) else y) for y in targets])
    if task.config.name in _MARGIN_LOSSES:
        return 1 - float(torch.bincount(values).max()) / len(values)
    if task.name in ("classification", *PER_POSITION):
        shares = torch.bincount(values.flatten(), minlength=task.num_outputs).float() / values.numel()
        if task.weights is not None:  # class weights shift the best constant prediction
            shares = shares * task.weights.to(shares)
            shares = shares / shares.sum()
        logits = (shares + 1e-6).log().reshape(1, -1, *[1] * (values.ndim - 1))
        outputs = logits.expand(len(values), -1, *values.shape[1:])
    elif task.name == "multilabel":
        shares = values.float().mean(0, keepdim=True)
        if task.weights is not None:  # these weight the labels that are set
            shares = shares * task.weights.to(shares) / (1 + shares * (task.weights.to(shares) - 1))
        outputs = torch.logit(shares, eps=1e-6).expand(values.shape)
    else:
        rows = values.reshape(len(values), -1).float() if task.name == "regression" else values
        outputs = rows.mean(0, keepdim=True).expand(rows.shape)
        if task.config.name == "bce":
            outputs = torch.logit(outputs, eps=1e-6)
    return float(task.loss(outputs, values))


def _sample(batches: HDF5DataModule, split: str, model: Supervised, device: torch.device) -> list[tuple[Any, Any]]:
    """Inputs and targets of some batches, each evenly spread over a split."""
    size = model.recipe.data.sizes[split]
    count = min(size, _SAMPLES)
    samples = np.linspace(0, size - 1, count).astype(np.intp)
    number = min(_BATCHES, max(1, count // 2))
    return [
        model.inputs_and_targets(preprocessed_on(device, model, batches, batches.read_batch(split, samples[i::number])))
        for i in range(number)
    ]


def _mean_loss(model: Supervised, batches: list[tuple[Any, Any]]) -> tuple[float, float]:
    """The mean loss, and its standard error: how much it scatters between batches."""
    task = model.recipe.task
    values, weights = [], []
    with torch.no_grad():
        for x, y in batches:
            outputs = model(x)
            if task.config.name in _MARGIN_LOSSES:
                values.append(float((outputs.argmax(1) != y).float().mean()))
            else:
                values.append(float(task.loss(outputs, y)))
            weights.append(task.weight(y))
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return mean, math.inf
    return mean, float(np.sqrt(np.average(np.square(np.subtract(values, mean)), weights=weights) / (len(values) - 1)))


def _relative_gradients(model: Supervised, batches: list[tuple[Any, Any]]) -> dict[str, float]:
    """For each layer with weights: the norm of the mean gradient over the norm of the weights."""
    task = model.recipe.task
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        for x, y in batches:
            (task.loss(model(x), y) / len(batches)).backward()  # type: ignore[no-untyped-call]
    norms = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.ndim > 1:
            layer = name.rpartition(".")[0] or name
            norms[layer] = float(parameter.grad.norm() / parameter.detach().norm().clamp(min=1e-12))
    model.zero_grad(set_to_none=True)
    return norms
