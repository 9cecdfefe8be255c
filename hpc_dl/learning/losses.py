"""The ``loss`` section: what is minimized, by name, for each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.spec import PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.schema import Section

LossName = Literal[
    "auto",
    "cross_entropy",
    "focal",
    "hinge",
    "perceptron",
    "dice",
    "cross_entropy_dice",
    "bce",
    "mse",
    "half_mse",
    "l1",
    "huber",
]


class LossConfig(Section):
    """What is minimized."""

    name: LossName = "auto"
    """``auto``: ``cross_entropy`` for classes, ``bce`` for several labels of a sample, ``mse`` for
    values. For classes also ``focal`` (Lin et al., 2017), ``hinge`` (Crammer and Singer, 2001) and
    ``perceptron`` (Rosenblatt, 1958), for the classes of pixels ``dice`` (Milletari et al., 2016)
    and the sum ``cross_entropy_dice`` (Isensee et al., 2021); for values also ``half_mse``, ``l1``
    and ``huber`` (1964)."""
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]] = "none"
    """How much each class counts: a list in the classes' order, or ``balanced``: the rarer, the
    more (all samples / (classes × samples of the class) in the training split). With ``bce``: what
    a label counts where it is set, in relation to where it is not; ``balanced``: samples without it
    / samples with it."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a label's weight that is spread over all classes, with ``cross_entropy`` (Szegedy et
    al., 2016)."""
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """How little what is already known counts with ``focal``; with 0 it is ``cross_entropy``."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the sum of the weights' absolute values that is added to the training loss."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of half the sum of the weights' squares that is added to the training loss."""


#: The mean loss of a batch from outputs, targets, the section, and the weights of the K classes
#: where they differ.
Loss = Callable[[Tensor, Tensor, LossConfig, Tensor | None], Tensor]


def _cross_entropy(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """−ln of the class's probability.

    With weights, the sum of the weighted losses is divided by the number of samples. Torch's own
    mean divides by the sum of a batch's weights: that of a single sample would not depend on its
    weight, and that of two batches not be the mean of their losses.
    """
    smoothing = config.label_smoothing
    if weights is None:
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    return functional.cross_entropy(outputs, targets, weights, label_smoothing=smoothing, reduction="none").mean()


def _focal(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """−(1 − p)^γ ln p, with p the class's probability (Lin et al., 2017)."""
    surprise = functional.cross_entropy(outputs, targets, reduction="none")
    # Not below the precision: for γ < 1 the power has an infinite slope at 0.
    unknown = -torch.expm1(-surprise).clamp(max=-torch.finfo(surprise.dtype).eps)
    return _weighted(unknown**config.gamma * surprise, targets, weights)


def _hinge(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """max(0, 1 + the highest other output − the class's output) (Crammer and Singer, 2001)."""
    return _margin(outputs, targets, 1.0, weights)


def _perceptron(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """max(0, the highest other output − the class's output): only mistakes teach (Rosenblatt,
    1958).
    """
    return _margin(outputs, targets, 0.0, weights)


def _dice(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """1 − the mean of the classes' soft Dice coefficients, (2 Σ p g + 1) / (Σ p² + Σ g² + 1)
    (Milletari et al., 2016).

    The sums go over the positions of each sample; over all steps of a batch whose samples are
    ragged. The 1 makes a class that is not there, and not found, count as right.
    """
    axes = tuple(range(2, outputs.ndim)) or (0,)
    # The number of an image's pixels has more digits than 16-bit numbers do.
    found = outputs.softmax(1, dtype=torch.promote_types(outputs.dtype, torch.float32))
    true = functional.one_hot(targets, outputs.shape[1]).movedim(-1, 1).to(found.dtype)
    both = (found * true).sum(axes)
    coefficients = (2 * both + 1) / (found.square().sum(axes) + true.sum(axes) + 1)
    if weights is None:
        return 1 - coefficients.mean()
    return 1 - (coefficients * weights).sum(-1).mean() / weights.sum()


def _cross_entropy_dice(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """The sum of both (Isensee et al., 2021)."""
    return _cross_entropy(outputs, targets, config, weights) + _dice(outputs, targets, config, weights)


def _bce(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Binary cross-entropy of logits: of each label by itself, or of each input that lies in [0,
    1].
    """
    return functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), pos_weight=weights)


def _mse(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    return functional.mse_loss(outputs, targets)


def _half_mse(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """½ (output − target)², whose derivative is the error itself."""
    return functional.mse_loss(outputs, targets) / 2


def _l1(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    return functional.l1_loss(outputs, targets)


def _huber(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Squared up to an error of 1, then linear (Huber, 1964)."""
    return functional.huber_loss(outputs, targets)


def _margin(outputs: Tensor, targets: Tensor, margin: float, weights: Tensor | None) -> Tensor:
    own = outputs.gather(1, targets.unsqueeze(1)).squeeze(1)
    others = outputs.scatter(1, targets.unsqueeze(1), -torch.inf).amax(1)
    # clamp, not relu: its slope at the boundary is 1, so that weights of zero, with which all are
    # equal, learn.
    return _weighted((margin + others - own).clamp(min=0), targets, weights)


def _weighted(losses: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (weights[targets] * losses).mean()


#: Mean losses of a batch by name; those that fit a task, its ``auto`` first.
LOSSES: dict[str, Loss] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "hinge": _hinge,
    "perceptron": _perceptron,
    "dice": _dice,
    "cross_entropy_dice": _cross_entropy_dice,
    "bce": _bce,
    "mse": _mse,
    "half_mse": _half_mse,
    "l1": _l1,
    "huber": _huber,
}
COMPATIBLE_LOSSES: dict[TaskName, tuple[str, ...]] = {
    "classification": ("cross_entropy", "focal", "hinge", "perceptron"),
    "multilabel": ("bce",),
    "regression": ("mse", "half_mse", "l1", "huber"),
    **dict.fromkeys(PER_POSITION, ("cross_entropy", "focal", "dice", "cross_entropy_dice")),
    "sequence_to_sequence": ("cross_entropy",),
    "reconstruction": ("mse", "half_mse", "l1", "huber", "bce"),
    # Networks that compete, and vectors of words, have losses of their own.
    "generation": ("auto",),
    "embedding": ("auto",),
}
_SMOOTHING = ("cross_entropy", "cross_entropy_dice")
assert set(LOSSES) | {"auto"} == set(get_args(LossName))
assert set(COMPATIBLE_LOSSES) == set(get_args(TaskName))


def loss_faults(config: LossConfig, loss: str, data: DataSpec) -> list[Fault]:
    """What of the section does not fit the data, or would have no effect with this loss."""
    fitting = COMPATIBLE_LOSSES[data.task]
    if loss not in fitting:
        return [
            Fault(
                "loss.name",
                f"does not fit {data.file}, whose targets are made for {data.task} (data.task)",
                value=loss,
                allowed=", ".join(fitting),
            )
        ]
    faults = []
    if config.label_smoothing and loss not in _SMOOTHING:
        faults.append(
            Fault(
                "loss.label_smoothing",
                f"has no effect with {loss} (loss.name)",
                value=config.label_smoothing,
                allowed=f"0, or one of the losses {', '.join(_SMOOTHING)}",
            )
        )
    if config.class_weights != "none":
        if data.task not in ("classification", "multilabel", *PER_POSITION):
            faults.append(
                Fault(
                    "loss.class_weights",
                    f"does not apply to {data.task} (data.task)",
                    value=config.class_weights,
                    allowed="none",
                )
            )
        elif config.class_weights != "balanced" and len(config.class_weights) != data.num_outputs:
            faults.append(
                Fault(
                    "loss.class_weights",
                    f"must be one for each of the {data.num_outputs} classes of {data.file}",
                    value=config.class_weights,
                )
            )
    return faults


def class_weights(config: LossConfig, data: DataSpec, counts: Sequence[int] | None) -> Tensor | None:
    """The weights of the K classes, (K,), or None where all are the same.

    Args:
        config: the section, free of :func:`loss_faults`.
        data: what is learned from.
        counts: how often each class, or label, is there in the training split; only ``balanced``
            needs them.

    Raises:
        ConfigError: they cannot be balanced.
    """
    if config.class_weights == "none":
        return None
    if config.class_weights != "balanced":
        return torch.tensor(config.class_weights, device="cpu")
    if counts is None:
        raise _unbalanceable(f"the classes of {data.file} are not counted in the training split")
    if data.task == "multilabel":
        return torch.tensor(balanced_positives(counts, data.sizes["train"]), device="cpu")
    return torch.tensor(balanced_weights(counts), device="cpu")


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """What each class counts so that all weigh the same: n / (K · n_k); 1 on average over the n
    samples.

    Args:
        counts: n_k, the samples (or steps, pixels) of each of the K classes in the training split.

    Raises:
        ConfigError: a class has none.
    """
    if 0 in counts:
        raise _unbalanceable(f"class {counts.index(0)} has no sample in the training split")
    return [sum(counts) / (len(counts) * count) for count in counts]


def balanced_positives(counts: Sequence[int], num_samples: int) -> list[float]:
    """What each label counts where it is set, so that both cases weigh the same: (n − n_k) / n_k.

    Args:
        counts: n_k, the samples of the training split that have the label.
        num_samples: n.

    Raises:
        ConfigError: a label has no sample, or all.
    """
    for label, count in enumerate(counts):
        if count in (0, num_samples):
            raise _unbalanceable(f"label {label} is set in {'all' if count else 'none'} of the training samples")
    return [(num_samples - count) / count for count in counts]


def _unbalanceable(problem: str) -> ConfigError:
    return ConfigError.at(
        "loss.class_weights",
        problem,
        value="balanced",
        remedy="give the weights as a list",
    )


def penalty(parameters: list[torch.nn.Parameter], config: LossConfig) -> Tensor | None:
    """L1 and L2 penalty on weights (not on biases and scales, which have one axis), a scalar; None
    for no penalty.
    """
    if not (config.l1 or config.l2):
        return None
    weights = [parameter for parameter in parameters if parameter.ndim > 1 and parameter.requires_grad]
    total: Tensor | None = None
    for weight in weights:
        part = config.l1 * weight.abs().sum() + config.l2 / 2 * weight.square().sum()
        total = part if total is None else total + part
    return total
