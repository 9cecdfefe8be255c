"""Convolutions along one, two or three axes, with the normalization and the activation that follow
them.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.pooling import overlapping_max_pooling

PaddingName = Literal["same", "valid"]
NormName = Literal["batch", "layer", "group", "none"]
StemName = Literal["auto", "small", "medium", "large"]

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MOST_GROUPS = 8  # of group normalization
_LARGE = 64  # positions along the shortest axis from which a large stem pays


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
) -> nn.Module:
    """A convolution, (B, num_in, *sizes) to (B, num_out, *sizes as in :func:`size_after`).

    Args:
        num_axes: 1 for series, 2 for images, 3 for volumes.
        num_in: channels of the inputs.
        num_out: channels of the outputs.
        kernel_size: positions of the kernel along each axis; with padding ``same`` it is odd.
        stride: positions from one output to the next.
        dilation: positions from one weight of the kernel to the next.
        padding: ``same``: zeros around, so that with a stride of 1 the size stays; ``valid``: none.
        groups: parts of the channels that do not see each other.
        bias: add a constant to each output channel.
    """
    margin = dilation * (kernel_size - 1) // 2 if padding == "same" else 0
    return _CONVOLUTIONS[num_axes](
        num_in, num_out, kernel_size, stride=stride, padding=margin, dilation=dilation, groups=groups, bias=bias
    )


def size_after(size: int, kernel_size: int, stride: int = 1, dilation: int = 1, padding: PaddingName = "same") -> int:
    """Positions along an axis after a :func:`convolution`; below 1 where the kernel does not fit
    in.
    """
    reach = dilation * (kernel_size - 1)
    margin = reach // 2 if padding == "same" else 0
    return (size + 2 * margin - reach - 1) // stride + 1


def normalization(name: NormName, num_axes: int, num_channels: int) -> nn.Module:
    """A normalization of (B, num_channels, *sizes), with a scale and a shift for each channel.

    ``batch``: each channel over batch and positions (Ioffe and Szegedy, 2015); ``layer``: all
        channels of a sample
    together (Ba, Kiros and Hinton, 2016); ``group``: up to eight groups of a sample's channels (Wu
    and He, 2018).
    """
    if name == "batch":
        return _BATCH_NORMS[num_axes](num_channels)
    if name == "none":
        return nn.Identity()
    return nn.GroupNorm(1 if name == "layer" else math.gcd(num_channels, _MOST_GROUPS), num_channels)


def convolution_block(
    num_axes: int,
    num_in: int,
    num_out: int,
    kernel_size: int = 1,
    *,
    norm: NormName = "batch",
    activation_name: ActivationName = "relu",
    stride: int = 1,
    dilation: int = 1,
    padding: PaddingName = "same",
    groups: int = 1,
    bias: bool = True,
) -> nn.Sequential:
    """A :func:`convolution`, its :func:`normalization` and activation; a normalization brings a
    bias of its own.
    """
    layer = convolution(
        num_axes,
        num_in,
        num_out,
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=bias and norm == "none",
    )
    layers = [layer] if norm == "none" else [layer, normalization(norm, num_axes, num_out)]
    return nn.Sequential(*layers, activation(activation_name))


def separable(
    num_axes: int,
    num_in: int,
    num_out: int,
    kernel_size: int = 3,
    *,
    norm: NormName = "batch",
    activation_name: ActivationName = "relu",
    stride: int = 1,
) -> nn.Sequential:
    """A depthwise convolution, of each channel by itself, and a pointwise one, of all channels at
    one position.

    With K kernel weights, num_in · K + num_in · num_out weights for num_in · num_out · K of a plain
    one (Howard et al., 2017). Each is normalized and activated; (B, num_in, *sizes) to (B, num_out,
    *sizes / stride).
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
    """The first layers of a deep network, (B, num_in, *sizes) to (B, num_out, …).

    Args:
        name: ``large``: a kernel of 7 and a max pooling of 3, which halve each axis twice (He et
            al., 2015); ``small``: a kernel of 3 that keeps the size, as for CIFAR-10; ``medium``: a
            kernel of 3 and the pooling, which halve it once; ``auto``: large from 64 positions
            along each axis, else small.
        num_axes: as in :func:`convolution`.
        num_in: channels of the inputs.
        num_out: channels of the outputs.
        sizes: of the inputs along each axis.
        norm: normalization after the convolution.
    """
    if name == "auto":
        name = "large" if min(sizes) >= _LARGE else "small"
    kernel_size, stride = (7, 2) if name == "large" else (3, 1)
    layer = convolution_block(num_axes, num_in, num_out, kernel_size, norm=norm, stride=stride)
    return layer if name == "small" else nn.Sequential(layer, overlapping_max_pooling(num_axes))


def initialize_for_relu(module: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 2 / outputs), which keeps gradients' size (He
    et al., 2015).
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def judged(layers: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What layers make of a batch, a tensor: torch calls it ``Any``."""
    outputs: torch.Tensor = layers(x)
    return outputs
