"""Sentences about a finished training: how it went, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from hpc_dl.formatting import shortened

# What was found, and what to try.
_BY_FIT = {
    "unknown": ("The training loss is low.", "Without a validation split, overfitting cannot be checked."),
    "good": (
        "Training and validation loss are low: a good fit.",
        "The test split shows how well it generalizes.",
    ),
    "overfit": (
        "The training loss is low, and the validation loss is clearly higher: the model overfits.",
        "Try more data or augmentation, regularization (dropout, optimizer.weight_decay, loss.l1) or a smaller model.",
    ),
    "underfit": (
        "Training and validation loss are high: the model underfits.",
        "Try longer training, a larger model, another learning rate or less regularization. If none of these helps, "
        "the inputs may not determine the targets.",
    ),
    "unlikely": (
        "The training loss is high, and the validation loss is low: more than chance explains.",
        "Check whether the splits have different distributions, such as only easy samples for validation.",
    ),
    "diverged": (
        "The loss is not a number, or far above that of a constant prediction: the training diverged.",
        "Try a smaller learning rate, a warm-up (schedule.warmup_steps) or gradient clipping "
        "(trainer.gradient_clip_val).",
    ),
}
_STILL_FALLING = "The validation loss was still falling at the end: longer training may improve it."
_STOP_EARLY = "Early stopping (trainer.early_stopping) may help, too."
# The training loss is low: whatever the layers do, they do not keep the network from learning.
_LEARNED = ("good", "overfit", "unknown")
_VANISHED = 1e-4  # of the largest relative gradient of a layer
_MANY_UNITS = 0.4


def advise(
    fit: str,
    losses: dict[str, float],
    gradients: dict[str, float],
    dead: dict[str, float],
    saturated: dict[str, float],
    *,
    still_falling: bool,
    errors: Mapping[str, float] = MappingProxyType({}),
) -> list[str]:
    """Say how the training went and what to try next, the most important sentence first.

    Args:
        fit: as in :func:`hpc_dl.training.diagnosis.diagnose`.
        losses: of ``train``, ``val`` (if there is one) and ``constant``.
        gradients: relative norm of the gradient, by layer.
        dead: share of dead units, by activation.
        saturated: share of saturated units, by activation.
        still_falling: whether the validation loss was still falling at the end.
        errors: standard error of each of the losses, as far as it is known.
    """
    causes = [] if fit in _LEARNED or fit == "diverged" else _causes(gradients, dead, saturated)
    # What keeps the network from learning comes first: a larger one would not help.
    sentences = [_fit_sentence(fit, losses, errors, with_advice=not (fit == "underfit" and causes))]
    if fit == "diverged":  # inactive units and vanished gradients follow from that
        return sentences
    if still_falling:
        sentences.append(_STILL_FALLING)
    elif fit == "overfit":
        sentences.append(_STOP_EARLY)
    return sentences + (_inactive_units(dead, saturated) if fit in _LEARNED else causes)


def _causes(gradients: dict[str, float], dead: dict[str, float], saturated: dict[str, float]) -> list[str]:
    """What keeps a network from learning, and what to try."""
    sentences = []
    if gradients and (largest := max(gradients.values())) > 0:
        vanished = [name for name, norm in gradients.items() if norm < _VANISHED * largest]
        if vanished:
            sentences.append(
                f"Almost no gradient reaches {shortened(vanished, 4)}: try another activation (model.activation) or "
                "initialization (model.init), normalization (model.norm), or fewer layers."
            )
    sentences += [
        f"{share:.0%} of the units after {name} are dead (0 for every sample): try a smaller learning rate, "
        "model.activation=leaky_relu, or model.init.bias=0.01."
        for name, share in dead.items()
        if share > _MANY_UNITS
    ]
    sentences += [
        f"{share:.0%} of the units after {name} are saturated: try scaled inputs (data.scaling), smaller initial "
        "weights (model.init), or model.activation=relu."
        for name, share in saturated.items()
        if share > _MANY_UNITS
    ]
    return sentences


def _inactive_units(dead: dict[str, float], saturated: dict[str, float]) -> list[str]:
    """The inactive units of a network that learned nevertheless."""
    kinds = (
        ("dead (0 for every sample)", "a smaller model may do as well", dead),
        ("saturated", "this needs no change", saturated),
    )
    return [
        f"{share:.0%} of the units after {name} are {kind}. The training loss is low all the same: {consequence}."
        for kind, consequence, shares in kinds
        for name, share in shares.items()
        if share > _MANY_UNITS
    ]


def _fit_sentence(fit: str, losses: dict[str, float], errors: Mapping[str, float], *, with_advice: bool) -> str:
    sentence = " ".join(_BY_FIT[fit] if with_advice else _BY_FIT[fit][:1])
    if fit == "underfit" and "val" not in losses:
        sentence = sentence.replace("Training and validation loss are high", "The training loss is high")
    names = {"train": "training", "val": "validation", "constant": "constant prediction"}
    scatter = {key: f" ± {error:.1g}" for key, error in errors.items() if math.isfinite(error)}
    values = ", ".join(
        f"{name} {losses[key]:.3g}{scatter.get(key, '')}" for key, name in names.items() if key in losses
    )
    return f"{sentence} (Losses in evaluation mode: {values}.)"
