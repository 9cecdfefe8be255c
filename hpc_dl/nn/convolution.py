"""Convolutions along one, two or three axes, with normalization and activation."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.initialization import Layer, initialized
from hpc_dl.nn.pooling import PaddingName, overlapping_max_pooling

NormName = Literal["batch", "layer", "group", "none"]
StemName = Literal["auto", "small", "medium", "large"]

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_GROUPS = 8  # of group normalization
_LARGE = 64  # from this size of the shortest axis, ``auto`` is the large stem


def convolution(
    num_axes: int,
    num_in: int,
    num_out: int,
    kernel_size: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: PaddingName = "same",
    groups: int = 1,
    bias: bool = True,
) -> Layer:
    """Build a convolution, (B, num_in, *sizes) to (B, num_out, *sizes as in :func:`size_after`).

    Args:
        num_axes: 1 for series, 2 for images, 3 for volumes.
        num_in: input channels.
        num_out: output channels.
        kernel_size: size of the kernel along each axis; odd for padding ``same``.
        stride: step of the kernel along each axis.
        dilation: distance between the weights of the kernel.
        padding: ``same``: with zeros, so that the size stays the same with stride 1; ``valid``:
            none.
        groups: groups of channels that are convolved separately.
        bias: whether to add a constant to each output channel.
    """
    margin = dilation * (kernel_size - 1) // 2 if padding == "same" else 0
    return _CONVOLUTIONS[num_axes](
        num_in, num_out, kernel_size, stride=stride, padding=margin, dilation=dilation, groups=groups, bias=bias
    )


def size_after(size: int, kernel_size: int, stride: int = 1, dilation: int = 1, padding: PaddingName = "same") -> int:
    """Return the size of an axis after a convolution; below 1 if the kernel does not fit."""
    extent = dilation * (kernel_size - 1)
    margin = extent // 2 if padding == "same" else 0
    return (size + 2 * margin - extent - 1) // stride + 1


def normalization(name: NormName, num_axes: int, num_channels: int) -> nn.Module:
    """Build a normalization of (B, num_channels, *sizes), with a scale and a shift per channel.

    ``batch``: each channel over batch and positions (Ioffe and Szegedy, 2015); ``layer``: all
    channels of a sample together (Ba, Kiros and Hinton, 2016); ``group``: up to eight groups of
    channels of a sample (Wu and He, 2018).
    """
    if name == "batch":
        return _BATCH_NORMS[num_axes](num_channels)
    if name == "none":
        return nn.Identity()
    return nn.GroupNorm(1 if name == "layer" else math.gcd(num_channels, _MAX_GROUPS), num_channels)


def convolution_block(
    num_axes: int,
    num_in: int,
    num_out: int,
    kernel_size: int = 1,
    *,
    norm: NormName = "batch",
    activation_name: ActivationSetting = "relu",
    stride: int = 1,
    dilation: int = 1,
    padding: PaddingName = "same",
    groups: int = 1,
    bias: bool = True,
) -> nn.Sequential:
    """Build a :func:`convolution`, its :func:`normalization` and activation.

    The convolution has a bias only without normalization, which adds its own.
    """
    num_channels = num_out * pieces(activation_name)
    layer = convolution(
        num_axes,
        num_in,
        num_channels,
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=bias and norm == "none",
    )
    between = [] if norm == "none" else [normalization(norm, num_axes, num_channels)]
    return nn.Sequential(initialized(layer, activation_name), *between, activation(activation_name, num_out))


def separable_convolution(
    num_axes: int,
    num_in: int,
    num_out: int,
    kernel_size: int = 3,
    *,
    norm: NormName = "batch",
    activation_name: ActivationSetting = "relu",
    stride: int = 1,
) -> nn.Sequential:
    """Build a depthwise separable convolution with normalization and activation.

    A depthwise convolution (each channel by itself) is followed by a pointwise one (kernel size 1,
    all channels), each with normalization and activation. With K weights per kernel it has num_in ·
    K + num_in · num_out weights; a plain convolution has num_in · num_out · K (Howard et al.,
    2017).
    """
    depthwise = convolution_block(
        num_axes,
        num_in,
        num_in,
        kernel_size,
        norm=norm,
        activation_name=activation_name,
        stride=stride,
        groups=num_in,
    )
    return nn.Sequential(
        depthwise, convolution_block(num_axes, num_in, num_out, 1, norm=norm, activation_name=activation_name)
    )


def stem(
    name: StemName, num_axes: int, num_in: int, num_out: int, sizes: tuple[int, ...], norm: NormName = "batch"
) -> nn.Sequential:
    """Build the first layers of a deep network, (B, num_in, *sizes) to (B, num_out, …).

    Args:
        name: ``large``: kernel 7 and max pooling 3, each of which halves the axes (He et al.,
            2015); ``medium``: kernel 3 and the pooling, which halves the axes; ``small``: kernel 3,
            which keeps the size, as for CIFAR-10; ``auto``: ``large`` if each axis has 64 positions
            or more, else ``small``.
        num_axes: 1 for series, 2 for images, 3 for volumes.
        num_in: input channels.
        num_out: output channels.
        sizes: size of the inputs along each axis.
        norm: normalization after the convolution.
    """
    if name == "auto":
        name = "large" if min(sizes) >= _LARGE else "small"
    kernel_size, stride = (7, 2) if name == "large" else (3, 1)
    layer = convolution_block(num_axes, num_in, num_out, kernel_size, norm=norm, stride=stride)
    return layer if name == "small" else nn.Sequential(layer, overlapping_max_pooling(num_axes))


def initialize_for_relu(module: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 2 / fan-out), for ReLU (He et al., 2015)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
