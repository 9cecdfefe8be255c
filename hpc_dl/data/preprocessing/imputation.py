"""Missing values of the inputs (NaN), filled in by what the training split shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.config import ImputationMethod
from hpc_dl.data.preprocessing.scaling import by_channel, per_channel

_MOST_CLASSES = 6  # told by name
_SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Imputation:
    """A number for each channel, put where one is missing.

    Attributes:
        method: how it was found.
        fills: the numbers.
        axis: of the channels in a batch.
    """

    method: str
    fills: tuple[float, ...]
    axis: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """A copy of a batch (B, C, …) without NaN."""
        fills = per_channel(self.fills, self.axis, x.ndim, x.device).to(x.dtype)
        return torch.where(x.isnan(), fills, x)


@dataclass(frozen=True)
class Missing:
    """What is missing in the training split.

    Attributes:
        channels: missing values of each channel.
        num_values: of all, missing or not.
        by_class: samples of each class, and those of them with a value missing; (K, 2), or (0, 2).
    """

    channels: NDArray[np.int64]
    num_values: int
    by_class: NDArray[np.int64]

    @property
    def p_value(self) -> float:
        """Of Pearson's χ² test (1900) that the classes lack values equally often; 1 where they
        can't differ.
        """
        table = np.stack([self.by_class[:, 1], self.by_class[:, 0] - self.by_class[:, 1]], 1).astype(np.float64)
        table = table[table.sum(1) > 0]
        if len(table) < 2 or (table.sum(0) == 0).any():
            return 1.0
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        statistic = torch.tensor((np.square(table - expected) / expected).sum() / 2, dtype=torch.float64)
        return float(torch.special.gammaincc(torch.tensor((len(table) - 1) / 2, dtype=torch.float64), statistic))

    def in_words(self, name: str, method: str, indicator: bool, class_names: tuple[str, ...]) -> str:
        """One line for the user; empty where nothing is missing.

        Args:
            name: of the input.
            method: how missing values were filled in.
            indicator: whether the model is told which were missing.
            class_names: of the data.
        """
        count = int(self.channels.sum())
        if not count:
            return ""
        lacking = np.flatnonzero(self.channels)
        where = f"channel {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} of {len(self.channels)} channels"
        told = f"{count:,} of {self.num_values:,} values of {name} are missing, in {where}: filled in ({method}). "
        if not len(self.by_class):
            return told + "Mind that values are seldom missing at random."
        if self.p_value >= _SIGNIFICANT:
            return told + "Mind that values are seldom missing at random (here the classes lack equally many)."
        shares = self.by_class[:, 1] / np.maximum(self.by_class[:, 0], 1)
        most = np.argsort(-shares, kind="stable")[:_MOST_CLASSES]
        named = ", ".join(f"{class_names[k]} {shares[k]:.0%}" for k in most if shares[k] > 0)
        if (more := int((shares > 0).sum()) - len(most)) > 0:
            named += f" and of {more} more classes"
        advice = "" if indicator else "try data.missing_indicator=true, and "
        return told + (
            f"They are not missing at random: samples that lack some are {named} (χ² test: p = {self.p_value:.1g}). "
            f"That a value is missing may tell the class: {advice}ask why it is missing."
        )


def fit_imputation(
    blocks: Iterable[tuple[NDArray[Any], NDArray[Any] | None]],
    axis: int,
    method: ImputationMethod,
    num_classes: int,
) -> tuple[Imputation, Missing]:
    """Find what to fill in, and what is missing.

    Args:
        blocks: values (B, C, …) of the training split, and the class of each sample where there are
            classes.
        axis: of the channels.
        method: ``mean``, ``median`` or ``most_frequent`` value of the channel (the least of
            several); ``own_class``: a value of its own, the greatest of the channel plus one. A
            channel without any value is filled with 0.
        num_classes: how many there are; 0 for none.
    """
    parts = []
    by_class = np.zeros((num_classes, 2), np.int64)
    for values, labels in blocks:
        parts.append(by_channel(values, axis))
        if labels is not None and num_classes:
            lacking = np.isnan(parts[-1]).any((1, 2))
            by_class[:, 0] += np.bincount(labels, minlength=num_classes)
            by_class[:, 1] += np.bincount(labels[lacking], minlength=num_classes)
    together = np.moveaxis(np.concatenate(parts), 1, 0)
    channels = together.reshape(len(together), -1)
    missing = np.isnan(channels)
    fills = tuple(_fill(values[~lacking], method) for values, lacking in zip(channels, missing, strict=True))
    return Imputation(method, fills, axis), Missing(missing.sum(1), missing.size, by_class)


def _fill(values: NDArray[Any], method: ImputationMethod) -> float:
    if not len(values):
        return 0.0
    if method == "median":
        return float(np.median(values))
    if method == "most_frequent":
        found, counts = np.unique(values, return_counts=True)
        return float(found[counts.argmax()])
    if method == "own_class":
        return float(values.max()) + 1
    return float(values.mean(dtype=np.float64))
