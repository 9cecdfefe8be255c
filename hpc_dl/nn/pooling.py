"""Pooling along one, two or three axes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

PoolingName = Literal["max", "average", "sum", "none"]
PaddingName = Literal["same", "valid"]

_MAX: dict[int, type[nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d]] = {
    1: nn.MaxPool1d,
    2: nn.MaxPool2d,
    3: nn.MaxPool3d,
}
_AVERAGE: dict[int, type[nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d]] = {
    1: nn.AvgPool1d,
    2: nn.AvgPool2d,
    3: nn.AvgPool3d,
}


def pooling(name: PoolingName, num_axes: int, size: int, padding: PaddingName = "valid") -> nn.Module:
    """Build the pooling of adjacent windows, (B, C, *sizes) to (B, C, *size_after_pooling(sizes)).

    Args:
        name: what is computed of each window; ``none`` pools nothing.
        num_axes: 1 for series, 2 for images, 3 for volumes.
        size: of a window along each axis.
        padding: ``valid``: positions after the last full window are dropped; ``same``: windows
            reach beyond the border, as in :class:`SamePool`.
    """
    if name == "none":
        return nn.Identity()
    if padding == "same":
        return SamePool(name, num_axes, size)
    if name == "sum":
        return SumPool(num_axes, size)
    return _MAX[num_axes](size) if name == "max" else _AVERAGE[num_axes](size)


def size_after_pooling(length: int, size: int, padding: PaddingName = "valid") -> int:
    """Return the number of windows along an axis: ⌊length / size⌋, ⌈length / size⌉ for ``same``."""
    return -(-length // size) if padding == "same" else length // size


def overlapping_max_pooling(num_axes: int, stride: int = 2) -> nn.Module:
    """Build a max pooling with kernel 3, (B, C, *sizes) to (B, C, *⌈sizes / stride⌉)."""
    return _MAX[num_axes](3, stride, 1)


class SumPool(nn.Module):
    """Sum pooling of adjacent windows, (B, C, *sizes) to (B, C, *sizes // size).

    torch's LPPool with power 1 computes the same, but has no gradient where a sum is 0.
    """

    def __init__(self, num_axes: int, size: int) -> None:
        super().__init__()
        self.average = _AVERAGE[num_axes](size)
        self.count = size**num_axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum each window."""
        sums: torch.Tensor = self.average(x) * self.count
        return sums


class SamePool(nn.Module):
    """Pooling of adjacent windows, (B, C, *sizes) to (B, C, *⌈sizes / size⌉): padding ``same``.

    As in TensorFlow, the first and the last window reach beyond the border by half of what is
    missing each, the last one by the odd position. What is beyond does not count: neither in a
    maximum nor in a mean.
    """

    def __init__(self, name: PoolingName, num_axes: int, size: int) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.pool = pooling("max" if name == "max" else "sum", num_axes, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool each window."""
        margins: list[int] = []
        for length in reversed(x.shape[2:]):  # the last axis comes first
            missing = -length % self.size
            margins += [missing // 2, missing - missing // 2]
        beyond = -torch.inf if self.name == "max" else 0.0
        pooled: torch.Tensor = self.pool(functional.pad(x, margins, value=beyond))
        if self.name != "average":
            return pooled
        counts: torch.Tensor = self.pool(functional.pad(torch.ones_like(x[:1, :1]), margins))
        return pooled / counts


class GlobalAverage(nn.Module):
    """Mean over all positions, (B, C, *sizes) to (B, C), for any sizes (Lin et al., 2014)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average over all positions."""
        means: torch.Tensor = x.flatten(2).mean(2)
        return means
