"""The ``loss`` section and the loss functions.

To add a loss, write its function and its entry in ``LOSSES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.spec import IGNORED, PER_POSITION, DataSpec, TaskName
from hpc_dl.errors import Fault
from hpc_dl.schema import Section

#: Returns the mean loss of a batch, a scalar. Its arguments are the outputs, the targets, the
#: ``loss`` section, and the class weights (K,) or None.
LossFunction = Callable[[Tensor, Tensor, "LossConfig", Tensor | None], Tensor]


def _cross_entropy(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """−ln of the predicted probability of the true class.

    With class weights, the sum of the weighted losses is divided by the number of samples. Torch
    divides by the sum of the weights in the batch instead: then the weight of a single sample has
    no effect, and the loss of two batches is not the mean of their losses.
    """
    smoothing = config.label_smoothing
    if weights is None:
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    losses = functional.cross_entropy(outputs, targets, weights, label_smoothing=smoothing, reduction="none")
    return _mean_of_known(losses, targets != IGNORED)


def _focal(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """−(1 − p)^γ ln p, with p the predicted probability of the true class (Lin et al., 2017)."""
    cross_entropy = functional.cross_entropy(outputs, targets, reduction="none")
    # At least the precision of the numbers: for γ < 1 the power has an infinite slope at 0.
    complement = -torch.expm1(-cross_entropy).clamp(max=-torch.finfo(cross_entropy.dtype).eps)  # 1 − p
    return _weighted(complement**config.gamma * cross_entropy, targets, weights)


def _hinge(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """max(0, 1 + highest other output − output of the true class) (Crammer and Singer, 2001)."""
    return _margin(outputs, targets, 1.0, weights)


def _perceptron(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """max(0, highest other output − output of the true class) (Rosenblatt, 1958).

    Only misclassified samples have a gradient.
    """
    return _margin(outputs, targets, 0.0, weights)


def _dice(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """1 − mean soft Dice coefficient of the classes (Milletari et al., 2016).

    The coefficient of a class is (2 Σ p g + 1) / (Σ p² + Σ g² + 1), with the predicted
    probabilities p and the true values g of 0 and 1. The sums go over the positions of each sample;
    for ragged samples, over all steps of the batch. Positions without a class do not count. Because
    of the 1, a class that is neither present nor predicted has the coefficient 1.
    """
    axes = tuple(range(2, outputs.ndim)) or (0,)
    # 16-bit numbers cannot hold the sum over all pixels of an image.
    predicted = outputs.softmax(1, dtype=torch.promote_types(outputs.dtype, torch.float32))
    known = (targets != IGNORED).unsqueeze(1)
    predicted = predicted * known
    true = functional.one_hot(targets.clamp(min=0), outputs.shape[1]).movedim(-1, 1).to(predicted.dtype) * known
    overlap = (predicted * true).sum(axes)
    coefficients = (2 * overlap + 1) / (predicted.square().sum(axes) + true.sum(axes) + 1)
    if weights is None:
        return 1 - coefficients.mean()
    return 1 - (coefficients * weights).sum(-1).mean() / weights.sum()


def _cross_entropy_dice(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Cross-entropy + Dice loss (Isensee et al., 2021)."""
    return _cross_entropy(outputs, targets, config, weights) + _dice(outputs, targets, config, weights)


def _mse(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """(output − target)²."""
    return functional.mse_loss(outputs, targets)


def _half_mse(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """½ (output − target)², whose derivative is the error itself."""
    return functional.mse_loss(outputs, targets) / 2


def _l1(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """|output − target|."""
    return functional.l1_loss(outputs, targets)


def _huber(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Quadratic up to an error of 1, then linear (Huber, 1964)."""
    return functional.huber_loss(outputs, targets)


def _bce(outputs: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Binary cross-entropy of logits with targets in [0, 1]: labels, or scaled inputs.

    Labels that are unknown do not count.
    """
    if not targets.is_floating_point():
        known = targets != IGNORED
        labels = targets.clamp(min=0).to(outputs.dtype)
        losses = functional.binary_cross_entropy_with_logits(outputs, labels, pos_weight=weights, reduction="none")
        return _mean_of_known(losses * known, known)
    return functional.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), pos_weight=weights)


def _mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """Return the mean of losses that are 0 where nothing is known, over what is known."""
    return losses.mean() * (known.numel() / known.sum().clamp(min=1)).to(losses.dtype)


def _margin(outputs: Tensor, targets: Tensor, margin: float, weights: Tensor | None) -> Tensor:
    true = outputs.gather(1, targets.unsqueeze(1)).squeeze(1)
    others = outputs.scatter(1, targets.unsqueeze(1), -torch.inf).amax(1)
    excess = margin + others - true
    # The slope at 0 is 1, so that a network whose weights are all zero, and whose outputs are
    # equal, still learns. That of relu is 0; so is that of clamp since torch 2.14.
    return _weighted(torch.where(excess < 0, 0.0, excess), targets, weights)


def _weighted(losses: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (weights[targets] * losses).mean()


@dataclass(frozen=True)
class Loss:
    """A loss function and where it applies.

    Attributes:
        function: computes the mean loss of a batch.
        tasks: the tasks that it fits.
        label_smoothing: whether it uses ``loss.label_smoothing``.
    """

    function: LossFunction
    tasks: tuple[TaskName, ...]
    label_smoothing: bool = False


#: All losses. The first one that fits a task is that task's ``auto``.
LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(
        _cross_entropy, ("classification", *PER_POSITION, "sequence_to_sequence"), label_smoothing=True
    ),
    "focal": Loss(_focal, ("classification", *PER_POSITION)),
    "hinge": Loss(_hinge, ("classification",)),
    "perceptron": Loss(_perceptron, ("classification",)),
    "dice": Loss(_dice, PER_POSITION),
    "cross_entropy_dice": Loss(_cross_entropy_dice, PER_POSITION, label_smoothing=True),
    "mse": Loss(_mse, ("regression", "reconstruction")),
    "half_mse": Loss(_half_mse, ("regression", "reconstruction")),
    "l1": Loss(_l1, ("regression", "reconstruction")),
    "huber": Loss(_huber, ("regression", "reconstruction")),
    "bce": Loss(_bce, ("multilabel", "reconstruction")),
}

#: Losses that leave out positions without a class themselves, as they need whole samples.
MASKS_ITSELF = ("dice", "cross_entropy_dice")

#: The losses that fit each task, its ``auto`` first. GANs and word2vec compute their own loss.
COMPATIBLE_LOSSES: dict[TaskName, tuple[str, ...]] = {
    task: tuple(name for name, loss in LOSSES.items() if task in loss.tasks) or ("auto",) for task in get_args(TaskName)
}

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[("auto", *LOSSES)]


class LossConfig(Section):
    """The function that training minimizes."""

    name: LossName = "auto"
    """``auto``: ``cross_entropy`` for classes, ``bce`` for multiple labels, ``mse`` for values. For
    classes also ``focal`` (Lin et al., 2017), ``hinge`` (Crammer and Singer, 2001) and
    ``perceptron`` (Rosenblatt, 1958); for a class per position also ``focal``, ``dice`` (Milletari
    et al., 2016) and their sum with cross-entropy, ``cross_entropy_dice`` (Isensee et al., 2021);
    for values also ``half_mse``, ``l1`` and ``huber`` (1964)."""
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(ge=0)]] = "none"
    """Weight of each class in the loss: a list in the order of the classes, or ``balanced``, which
    gives rare classes more weight: samples / (classes × samples of the class), counted in the
    training split. With ``bce``: weight of a label that is set, relative to one that is not;
    ``balanced`` is samples without the label / samples with it."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target probability that is spread evenly over all classes; with
    ``cross_entropy`` and ``cross_entropy_dice`` (Szegedy et al., 2016)."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Train on pairs of samples: inputs λ·x₁ + (1 − λ)·x₂, loss λ·L(y₁) + (1 − λ)·L(y₂), with λ
    from a Beta(α, α) distribution for each batch (Zhang et al., 2018); this is α, 0.1 to 0.4 in the
    paper. 0 for none."""
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """Exponent of ``focal``: the larger, the less samples count that are already classified well; 0
    gives ``cross_entropy``."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the L1 penalty: the sum of the absolute values of the weights is added to the
    training loss."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Factor of the L2 penalty: half the sum of the squared weights is added to the training
    loss."""


#: Tasks with one target for a sample, whose losses can be mixed.
MIXABLE = ("classification", "multilabel", "regression")


def loss_faults(config: LossConfig, loss: str, data: DataSpec) -> list[Fault]:
    """Return what in the section does not fit the data or has no effect with this loss.

    Args:
        config: the section.
        loss: name of the loss, ``auto`` resolved.
        data: the specification of the data.
    """
    compatible = COMPATIBLE_LOSSES[data.task]
    if loss not in compatible:
        return [
            Fault(
                "loss.name",
                f"does not fit the task {data.task} (data.task) of {data.file}",
                value=loss,
                allowed=", ".join(compatible),
            )
        ]
    faults = []
    if config.label_smoothing and not LOSSES[loss].label_smoothing:
        smoothing = [name for name, known in LOSSES.items() if known.label_smoothing]
        faults.append(
            Fault(
                "loss.label_smoothing",
                f"has no effect with {loss} (loss.name)",
                value=config.label_smoothing,
                allowed=f"0, or one of the losses {', '.join(smoothing)}",
            )
        )
    if config.mixup and (data.task not in MIXABLE or not data.is_dense or len(data.inputs) > 1):
        faults.append(
            Fault(
                "loss.mixup",
                f"cannot mix {data.inputs_description} for {data.task} (data.task)",
                value=config.mixup,
                allowed=f"0, or one array of numbers for each sample, all of one shape, and {', '.join(MIXABLE)}",
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
                    f"must have one weight for each of the {data.num_outputs} classes of {data.file}",
                    value=config.class_weights,
                )
            )
    return faults


def penalty(parameters: list[torch.nn.Parameter], config: LossConfig) -> Tensor | None:
    """Return the L1 and L2 penalty on the weights, a scalar, or None for no penalty.

    Parameters with one axis (biases, scales) are not penalized.
    """
    if not (config.l1 or config.l2):
        return None
    weights = [parameter for parameter in parameters if parameter.ndim > 1 and parameter.requires_grad]
    total: Tensor | None = None
    for weight in weights:
        part = config.l1 * weight.abs().sum() + config.l2 / 2 * weight.square().sum()
        total = part if total is None else total + part
    return total
