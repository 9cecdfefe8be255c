"""Imputation of missing input values (NaN), fitted on the training split."""

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
from hpc_dl.formatting import shortened

_MAX_NAMED_CLASSES = 6
_SIGNIFICANCE_LEVEL = 0.01


@dataclass(frozen=True)
class Imputation:
    """A fill value per channel.

    Attributes:
        method: how the fill values were fitted.
        fills: the fill values.
        axis: of the channels in a batch.
    """

    method: str
    fills: tuple[float, ...]
    axis: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """Return a copy of a batch (B, C, …) without NaN."""
        fills = per_channel(self.fills, self.axis, x.ndim, x.device).to(x.dtype)
        return torch.where(x.isnan(), fills, x)


@dataclass(frozen=True)
class MissingValues:
    """The missing values of the training split.

    Attributes:
        channels: number of missing values in each channel.
        num_values: number of all values, missing or not.
        by_class: for each class the number of samples, and of those with a missing value; (K, 2),
            or (0, 2) without classes.
    """

    channels: NDArray[np.int64]
    num_values: int
    by_class: NDArray[np.int64]

    @property
    def p_value(self) -> float:
        """The p-value of Pearson's χ² test (1900) of whether the classes differ in missing values.

        It is 1 if they cannot differ.
        """
        table = np.stack([self.by_class[:, 1], self.by_class[:, 0] - self.by_class[:, 1]], 1).astype(np.float64)
        table = table[table.sum(1) > 0]
        if len(table) < 2 or (table.sum(0) == 0).any():
            return 1.0
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        statistic = torch.tensor((np.square(table - expected) / expected).sum() / 2, dtype=torch.float64)
        return float(torch.special.gammaincc(torch.tensor((len(table) - 1) / 2, dtype=torch.float64), statistic))

    def description(self, name: str, method: str, indicator: bool, class_names: tuple[str, ...]) -> str:
        """Return one line for the user; empty if nothing is missing.

        Args:
            name: of the input.
            method: how missing values were filled in.
            indicator: whether the model sees which values were missing.
            class_names: of the data set.
        """
        count = int(self.channels.sum())
        if not count:
            return ""
        affected = np.flatnonzero(self.channels)
        where = f"channel {affected[0]}" if len(affected) == 1 else f"{len(affected)} of {len(self.channels)} channels"
        summary = f"{count:,} of {self.num_values:,} values of {name} are missing, in {where}; filled in ({method}). "
        if not len(self.by_class):
            return summary + "Note that values are rarely missing at random."
        if self.p_value >= _SIGNIFICANCE_LEVEL:
            return summary + "Note that values are rarely missing at random (the classes do not differ significantly)."
        shares = self.by_class[:, 1] / np.maximum(self.by_class[:, 0], 1)
        order = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
        rates = shortened([f"{class_names[k]} {shares[k]:.0%}" for k in order], _MAX_NAMED_CLASSES)
        advice = "" if indicator else " or set `data.missing_indicator: true`"
        return summary + (
            "They are not missing at random. Share of samples with missing values by class: "
            f"{rates} (χ² test: p = {self.p_value:.1g}). "
            f"A missing value may thus reveal the class: find out why it is missing{advice}."
        )


def fit_imputation(
    blocks: Iterable[tuple[NDArray[Any], NDArray[Any] | None]],
    axis: int,
    method: ImputationMethod,
    num_classes: int,
) -> tuple[Imputation, MissingValues]:
    """Fit the fill values, and count what is missing.

    Args:
        blocks: values (B, C, …) of the training split, and the class of each sample if there are
            classes.
        axis: of the channels.
        method: ``mean``, ``median`` or ``most_frequent`` value of the channel (the smallest of
            several); ``own_class``: a separate value, the greatest of the channel plus one. A
            channel without any value is filled with 0.
        num_classes: number of classes; 0 for none.
    """
    parts = []
    by_class = np.zeros((num_classes, 2), np.int64)
    for values, labels in blocks:
        parts.append(by_channel(values, axis))
        if labels is not None and num_classes:
            incomplete = np.isnan(parts[-1]).any((1, 2))
            known = labels >= 0  # not IGNORED
            by_class[:, 0] += np.bincount(labels[known], minlength=num_classes)
            by_class[:, 1] += np.bincount(labels[incomplete & known], minlength=num_classes)
    values_by_channel = np.moveaxis(np.concatenate(parts), 1, 0)
    channels = values_by_channel.reshape(len(values_by_channel), -1)
    missing = np.isnan(channels)
    fills = tuple(_fill(values[~is_missing], method) for values, is_missing in zip(channels, missing, strict=True))
    return Imputation(method, fills, axis), MissingValues(missing.sum(1), missing.size, by_class)


def _fill(values: NDArray[Any], method: ImputationMethod) -> float:
    if not len(values):
        return 0.0
    if method == "median":
        return float(np.median(values))
    if method == "most_frequent":
        distinct, counts = np.unique(values, return_counts=True)
        return float(distinct[counts.argmax()])
    if method == "own_class":
        return float(values.max()) + 1
    return float(values.mean(dtype=np.float64))
