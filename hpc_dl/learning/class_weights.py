"""The weights of the classes in the loss: ``loss.class_weights``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig


def class_weights(config: LossConfig, data: DataSpec, counts: Sequence[int] | None) -> Tensor | None:
    """Return the weights of the K classes, (K,), or None where all are equal.

    Args:
        config: the ``loss`` section, checked by ``loss_faults``.
        data: the specification of the data.
        counts: occurrences of each class or label in the training split; required for ``balanced``.

    Raises:
        ConfigError: ``balanced`` weights cannot be computed.
    """
    if config.class_weights == "none":
        return None
    if config.class_weights != "balanced":
        return torch.tensor(config.class_weights, device="cpu")
    if counts is None:
        raise _cannot_balance(f"the classes of {data.file} are not counted in the training split")
    if data.task == "multilabel":
        return torch.tensor(balanced_label_weights(counts, data.sizes["train"]), device="cpu")
    return torch.tensor(balanced_weights(counts), device="cpu")


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """Return n / (K · n_k) for each class: every class then has the same total weight, n / K.

    Args:
        counts: n_k, the samples (or steps, pixels) of each of the K classes in the training split,
            n in total.

    Raises:
        ConfigError: a class has no sample.
    """
    if 0 in counts:
        raise _cannot_balance(f"class {counts.index(0)} has no sample in the training split")
    return [sum(counts) / (len(counts) * count) for count in counts]


def balanced_label_weights(counts: Sequence[int], num_samples: int) -> list[float]:
    """Return (n − n_k) / n_k for each label: set and unset then have the same total weight.

    Args:
        counts: n_k, the samples of the training split that have the label.
        num_samples: n, the size of the training split.

    Raises:
        ConfigError: a label is set in no sample, or in all.
    """
    for label, count in enumerate(counts):
        if count in (0, num_samples):
            raise _cannot_balance(f"label {label} is set in {'all' if count else 'none'} of the training samples")
    return [(num_samples - count) / count for count in counts]


def _cannot_balance(problem: str) -> ConfigError:
    return ConfigError.at("loss.class_weights", problem, value="balanced", remedy="set the weights as a list")
