"""Convolutional network for series, images and volumes: convolutions and pooling, then dense (LeCun
et al., 1998).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.convolution import NormName, PaddingName, convolution_block, size_after
from hpc_dl.nn.pooling import GlobalAverage, PoolingName, pooling
from hpc_dl.schema import Unit


class CNNConfig(ModelConfig):
    """Blocks of convolutions, each with normalization and activation, and a pooling; then a dense
    hidden layer.
    """

    inputs = ("series", "image", "volume")
    small = {"channels": [4, 6], "hidden": 16}

    name: Literal["cnn"] = "cnn"
    """Which architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("feature maps per block")] = [
        32,
        64,
    ]
    """Feature maps of each block; the number of entries is the number of blocks."""
    convolutions: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Convolutions in each block (two and more: Simonyan and Zisserman, 2015)."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Size of the convolution kernels along each axis (steps of a series, voxels of a volume)."""
    stride: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """From one output of a block's first convolution to the next; 2 halves the size."""
    dilation: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """From one weight of a kernel to the next; 2 and more leave gaps (Yu and Koltun, 2016)."""
    padding: PaddingName = "same"
    """``same``: zeros around, so that a convolution keeps the size, for which the kernel must be
    odd; ``valid``: none, the size shrinks by dilation · (kernel_size − 1)."""
    groups: Annotated[int, Field(ge=1), Unit("groups")] = 1
    """Groups of feature maps that do not see each other; the first convolution always sees all of
    the data."""
    bias: bool = True
    """Add a constant to each feature map and each unit; a normalization brings one of its own."""
    norm: NormName = "batch"
    """Normalize each feature map over the ``batch`` (Ioffe and Szegedy, 2015); each sample by
    itself, all feature maps together (``layer``) or up to eight groups of them (``group``), for
    small batches; or ``none``."""
    activation: ActivationName = "relu"
    """Activation after each convolution and after the hidden layer."""
    pooling: PoolingName = "max"
    """What a block's end makes of neighboring positions."""
    pool_size: Annotated[int, Field(ge=1), Unit("pixels")] = 2
    """Positions along each axis that are pooled into one."""
    head: Literal["dense", "global_average"] = "dense"
    """What becomes of the last feature maps: all their values are taken (``dense``), or the mean of
    each (``global_average``, Lin et al., 2014), which fits inputs of any size and has fewer
    weights."""
    hidden: Annotated[int, Field(ge=0), Unit("units")] = 128
    """Units of the dense hidden layer; 0 for none."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.25
    """Share of the head's inputs switched off in training (Srivastava et al., 2014)."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> CNN:
        """The module for series, images or volumes.

        Raises:
            ConfigError: the inputs are too small for so many blocks, the kernel is even, or the
                groups do not come out.
        """
        if faults := list(self._faults(data.input_shape[1:])):
            raise ConfigError(*faults)
        return CNN(self, data, recipe)

    def sizes_after(self, num_blocks: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Positions along each axis after so many blocks; below 1 where nothing is left."""
        for number in range(num_blocks * self.convolutions):
            stride = 1 if number % self.convolutions else self.stride
            sizes = tuple(size_after(n, self.kernel_size, stride, self.dilation, self.padding) for n in sizes)
            if (number + 1) % self.convolutions == 0 and self.pooling != "none":
                sizes = tuple(n // self.pool_size for n in sizes)
        return sizes

    def _faults(self, sizes: tuple[int, ...]) -> Iterator[Fault]:
        if self.padding == "same" and self.kernel_size % 2 == 0:
            yield Fault("model.kernel_size", "must be odd", value=self.kernel_size)
        num_blocks = len(self.channels)
        if min(self.sizes_after(num_blocks, sizes)) < 1:
            most = max(n for n in range(num_blocks) if min(self.sizes_after(n, sizes)) >= 1)
            yield Fault(
                "model.channels",
                f"the inputs are too small for so many blocks: nothing is left of {'×'.join(map(str, sizes))} after "
                f"{most + 1}",
                value=self.channels,
                allowed=f"at most {most} blocks" if most else "",
                remedy="" if most else "lower model.kernel_size, model.dilation, model.stride or model.pool_size",
            )
        if self.groups > 1 and num_blocks * self.convolutions == 1:
            yield Fault("model.groups", "there is no second convolution to divide", value=self.groups, allowed="1")
        elif any(num % self.groups for num in self.channels):
            yield Fault("model.channels", f"must be divisible by model.groups, {self.groups}", value=self.channels)


class CNN(Supervised):
    """Convolution blocks that shrink the inputs, a dense hidden layer, a linear head."""

    def __init__(self, config: CNNConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_in, *sizes = data.input_shape
        blocks: list[nn.Module] = []
        for num_out in config.channels:
            for number in range(config.convolutions):
                blocks.append(
                    convolution_block(
                        len(sizes),
                        num_in,
                        num_out,
                        config.kernel_size,
                        norm=config.norm,
                        activation_name=config.activation,
                        stride=1 if number else config.stride,
                        dilation=config.dilation,
                        padding=config.padding,
                        groups=config.groups if blocks else 1,
                        bias=config.bias,
                    )
                )
                num_in = num_out
            blocks.append(pooling(config.pooling, len(sizes), config.pool_size))
        self.features = nn.Sequential(*blocks)
        if config.head == "dense":
            num_in *= math.prod(config.sizes_after(len(config.channels), tuple(sizes)))
        head: list[nn.Module] = [
            nn.Flatten() if config.head == "dense" else GlobalAverage(),
            nn.Dropout(config.dropout),
        ]
        if config.hidden:
            head += [nn.Linear(num_in, config.hidden, bias=config.bias), activation(config.activation)]
        self.classifier = nn.Sequential(*head, nn.Linear(config.hidden or num_in, data.num_outputs, bias=config.bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs (batch, channels, *sizes) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
