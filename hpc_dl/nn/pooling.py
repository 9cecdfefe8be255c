"""Pooling along one, two or three axes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

PoolingName = Literal["max", "average", "sum", "none"]

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


def pooling(name: PoolingName, num_axes: int, size: int) -> nn.Module:
    """Build the pooling of adjacent windows, (B, C, *sizes) to (B, C, *sizes // size).

    Positions after the last full window are dropped.
    """
    if name == "none":
        return nn.Identity()
    if name == "sum":
        return SumPool(num_axes, size)
    return _MAX[num_axes](size) if name == "max" else _AVERAGE[num_axes](size)


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


class GlobalAverage(nn.Module):
    """Mean over all positions, (B, C, *sizes) to (B, C), for any sizes (Lin et al., 2014)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average over all positions."""
        means: torch.Tensor = x.flatten(2).mean(2)
        return means
