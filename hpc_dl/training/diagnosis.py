"""What can be said of a finished training, in words, with what to try next.

The four-cell table compares training and validation loss: both high, the model has learned too
little; low and high, it has learned by heart; both low, good; high and low, something is wrong.
What is high is measured by the loss of the best constant answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.task import Task

_SAMPLES = 1024
_BATCHES = 16
# Shares of the constant answer's loss: above the first a loss is high; a validation loss that is
# above the training loss by the second shows a gap.
_HIGH = 0.3
_GAP = 0.15
_WILD = 10.0
_VANISHED = 1e-4  # of the largest gradient of a layer
_SATURATED = 0.99
_MANY = 0.4
# A validation loss still falls if the last quarter of a training, of at least four, took off so
# much of it.
_FALL = 0.03
_LITTLE = 0.05
_FEWEST = 3

# Their size says little, and the best constant answer has hardly any: of these the share of wrong
# answers is judged.
_OF_MARGINS = ("perceptron", "hinge")

_ADVICE = {
    "unknown": "The training loss is low; whether it learns by heart, a validation split would tell.",
    "good": "Training and validation loss are low: good. What counts now is the test split.",
    "overfit": "The training loss is low, the validation loss is high: it learns by heart. Try more data or "
    "augmentation, regularization (dropout, optimizer.weight_decay, loss.l1), a smaller model, or to stop earlier.",
    "underfit": "Training and validation loss are high: it has learned too little. Try a larger model, a longer "
    "training, another learning rate, less regularization; or the inputs do not tell more.",
    "unlikely": "The training loss is high, the validation loss is low: that is unlikely. Look for a mistake: samples "
    "in both splits, splits that differ, much dropout.",
    "diverged": "The loss is no number, or far above that of a constant answer: the training diverged. Try a smaller "
    "learning rate, a warm-up (schedule.warmup_steps), or clipping (trainer.gradient_clip_val).",
}


def diagnose(
    model: Supervised, batches: HDF5DataModule, device: torch.device, validations: Sequence[float] = ()
) -> dict[str, Any]:
    """Look at a trained model on about a thousand samples of the training and of the validation
    split.

    Args:
        model: with its final weights; gradients are left empty, its mode is put back.
        batches: its data.
        device: where to compute.
        validations: the losses of all validations, the first one first.

    Returns:
        ``fit`` (``good``, ``overfit``, ``underfit``, ``unlikely``, ``diverged``; ``unknown``
        without a validation), ``losses`` by ``train``, ``val`` and ``constant``; ``gradients``: the
        norm by layer over the norm of its weights; ``dead`` and ``saturated``: shares of the units
        of an activation, where there are any; ``words``: sentences.
    """
    task = model.recipe.task
    home = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.to(device).eval()
    try:
        train = _sampled(batches, "train", model, device)
        with ExitStack() as hooks:
            activity = _Activity(model, hooks)
            losses = {"train": _loss(model, train), "constant": _constant_loss(task, [y for _, y in train])}
        gradients = _gradients(model, train)
        if "val" in model.recipe.data.sizes:
            losses["val"] = _loss(model, _sampled(batches, "val", model, device))
    finally:
        model.to(home)
        for module, mode in modes.items():
            module.training = mode
    fit = _fit(losses)
    found: dict[str, Any] = {
        "fit": fit,
        "losses": {name: _plain(round(value, 6)) for name, value in losses.items()},
        "gradients": {name: _plain(float(f"{value:.3g}")) for name, value in gradients.items()},
        "dead": activity.dead(),
        "saturated": activity.saturated(),
    }
    words = _words(found, losses, gradients)
    if _still_falls(validations) and validations[-1] > _LITTLE * losses["constant"]:
        words.insert(1, "The validation loss was still falling at the end: a longer training may reach more.")
    return found | {"words": words}


def _sampled(batches: HDF5DataModule, split: str, model: Supervised, device: torch.device) -> list[tuple[Any, Any]]:
    """Inputs and targets of some batches from all over a split."""
    size = model.recipe.data.sizes[split]
    count = min(size, _SAMPLES)
    rows = np.linspace(0, size - 1, count).astype(np.intp)
    found = []
    for part in np.array_split(rows, min(_BATCHES, max(1, count // 2))):
        batch = model.transfer_batch_to_device(batches.batch_at(split, part), device, 0)
        found.append(model.inputs_and_targets(batches.preprocessed(batch)))
    return found


def _loss(model: Supervised, batches: list[tuple[Any, Any]]) -> float:
    task, total, weight = model.recipe.task, 0.0, 0
    with torch.no_grad():
        for x, y in batches:
            outputs = model(x)
            if task.config.name in _OF_MARGINS:
                total += float((outputs.argmax(1) != y).sum())
            else:
                total += float(task.loss(outputs, y)) * task.weight(y)
            weight += task.weight(y)
    return total / weight


def _constant_loss(task: Task, targets: list[Any]) -> float:
    """The loss of the best answer that is the same for all samples: the classes' shares, the
    values' means.
    """
    values = torch.cat([(y.values if isinstance(y, Ragged) else y) for y in targets])
    if task.config.name in _OF_MARGINS:
        return 1 - float(torch.bincount(values).max()) / len(values)
    if task.name in ("classification", *PER_POSITION):
        shares = torch.bincount(values.flatten(), minlength=task.num_outputs).float() / values.numel()
        if task.weights is not None:  # they move the best constant answer, too
            shares = shares * task.weights.to(shares)
            shares = shares / shares.sum()
        logits = (shares + 1e-6).log().reshape(1, -1, *[1] * (values.ndim - 1))
        outputs = logits.expand(len(values), -1, *values.shape[1:])
    elif task.name == "multilabel":
        shares = values.float().mean(0, keepdim=True)
        if task.weights is not None:  # of a label that is set
            shares = shares * task.weights.to(shares) / (1 + shares * (task.weights.to(shares) - 1))
        outputs = torch.logit(shares, eps=1e-6).expand(values.shape)
    else:
        rows = values.reshape(len(values), -1).float() if task.name == "regression" else values
        outputs = rows.mean(0, keepdim=True).expand(rows.shape)
        if task.config.name == "bce":
            outputs = torch.logit(outputs, eps=1e-6)
    return float(task.loss(outputs, values))


def _gradients(model: Supervised, batches: list[tuple[Any, Any]]) -> dict[str, float]:
    """For each layer with weights the norm of the mean gradient over the norm of the weights."""
    task = model.recipe.task
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        for x, y in batches:
            (task.loss(model(x), y) / len(batches)).backward()  # type: ignore[no-untyped-call]
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and parameter.ndim > 1:
            layer = name.rpartition(".")[0] or name
            found[layer] = float(parameter.grad.norm() / parameter.detach().norm().clamp(min=1e-12))
    model.zero_grad(set_to_none=True)
    return found


class _Activity:
    """What the units of each activation module do: never anything (dead), or nearly always their
    utmost (saturated).
    """

    def __init__(self, model: nn.Module, hooks: ExitStack) -> None:
        self._alive: dict[str, Tensor] = {}
        self._utmost: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.ReLU):
                hooks.callback(module.register_forward_hook(self._watch(name, self._alive, lambda out: out > 0)).remove)
            elif isinstance(module, nn.Tanh):
                utmost = self._watch(name, self._utmost, lambda out: out.abs() > _SATURATED)
                hooks.callback(module.register_forward_hook(utmost).remove)
            elif isinstance(module, nn.Sigmoid):
                utmost = self._watch(name, self._utmost, lambda out: (out - 0.5).abs() > _SATURATED / 2)
                hooks.callback(module.register_forward_hook(utmost).remove)

    def _watch(self, name: str, counts: dict[str, Tensor], judge: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            # Units are channels; all positions of a channel count as occasions.
            occasions = judge(output.detach().reshape(len(output), -1, *output.shape[2:])).movedim(1, -1).flatten(0, -2)
            counts[name] = counts.get(name, torch.zeros((), device=output.device)) + occasions.sum(0)
            self._seen[name] = self._seen.get(name, 0) + len(occasions)

        return hook

    def dead(self) -> dict[str, float]:
        """The share of units that were 0 for all samples, by activation; only where there are some."""
        shares = {name: float((count == 0).float().mean()) for name, count in self._alive.items()}
        return {name: round(share, 3) for name, share in shares.items() if share > 0}

    def saturated(self) -> dict[str, float]:
        """The share of units that were at their utmost for most samples."""
        shares = {n: float((count > 0.5 * self._seen[n]).float().mean()) for n, count in self._utmost.items()}
        return {name: round(share, 3) for name, share in shares.items() if share > 0}


def _fit(losses: dict[str, float]) -> str:
    train, constant, val = losses["train"], losses["constant"], losses.get("val", losses["train"])
    if not (math.isfinite(train) and math.isfinite(val)) or train > _WILD * constant > 0:
        return "diverged"
    train_high = train > _HIGH * constant
    if "val" not in losses:
        return "underfit" if train_high else "unknown"
    val_high = val > _HIGH * constant or val - train > _GAP * constant
    if train_high:
        return "underfit" if val_high else "unlikely"
    return "overfit" if val_high else "good"


def _still_falls(validations: Sequence[float]) -> bool:
    """Whether the last quarter of the validations brought the loss down further, to its very end."""
    quarter = max(1, len(validations) // 4)
    before, after = validations[:-quarter], validations[-quarter:]
    return len(before) >= _FEWEST and after[-1] == min(after) and after[-1] < (1 - _FALL) * min(before)


def _plain(value: float) -> float | str:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else str(value)


def _words(found: dict[str, Any], losses: dict[str, float], gradients: dict[str, float]) -> list[str]:
    told = ", ".join(
        f"{name} {losses[key]:.3g}"
        for key, name in (("train", "training"), ("val", "validation"), ("constant", "a constant answer"))
        if key in losses
    )
    advice = _ADVICE[found["fit"]]
    if found["fit"] == "underfit" and "val" not in losses:
        advice = advice.replace("Training and validation loss are high", "The training loss is high")
    words = [f"{advice} (In evaluation: {told}.)"]
    if gradients and (largest := max(gradients.values())) > 0:
        vanished = [name for name, norm in gradients.items() if norm < _VANISHED * largest]
        if vanished:
            words.append(
                f"Hardly any gradient reaches {', '.join(vanished[:4])}: try another activation or beginning "
                "(model.activation, model.init), normalization, or fewer layers."
            )
    for name, share in found["dead"].items():
        if share > _MANY:
            words.append(
                f"{share:.0%} of the units after {name} are dead, 0 for every sample: try a smaller learning rate, "
                "leaky_relu, or model.init.bias=0.01."
            )
    for name, share in found["saturated"].items():
        if share > _MANY:
            words.append(
                f"{share:.0%} of the units after {name} are saturated: try scaled inputs, smaller weights at the "
                "beginning (model.init), or relu."
            )
    return words
