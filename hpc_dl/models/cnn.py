"""Convolutional network: convolutions and pooling, then dense layers (LeCun et al., 1998)."""

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
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import NormName, convolution_block, size_after
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.pooling import GlobalAverage, PaddingName, PoolingName, pooling, size_after_pooling
from hpc_dl.schema import Unit


class CNNConfig(ModelConfig):
    """Blocks of convolutions, each followed by pooling, then a dense head."""

    inputs = ("series", "image", "volume")
    small = {"channels": [4, 6], "hidden": 16}

    name: Literal["cnn"] = "cnn"
    """Name of the architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("feature maps per block")] = [
        32,
        64,
    ]
    """Feature maps of each block; the length of the list is the number of blocks."""
    convolutions: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Convolutions per block; two or more as in VGG (Simonyan and Zisserman, 2015)."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Size of the kernels along each axis."""
    stride: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """Stride of the first convolution of each block; 2 halves the size."""
    dilation: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """Distance between the weights of a kernel; 2 or more leaves gaps (Yu and Koltun, 2016)."""
    padding: PaddingName = "same"
    """``same``: zero padding, so that a convolution with stride 1 keeps the size (kernel size must
    be odd); ``valid``: no padding, the size shrinks by dilation · (kernel_size − 1)."""
    groups: Annotated[int, Field(ge=1), Unit("groups")] = 1
    """Groups of feature maps that are convolved separately, from the second convolution on."""
    bias: bool = True
    """Add a bias to each feature map and unit; with normalization, which has its own, only in the
    head."""
    norm: NormName = "batch"
    """Normalization after each convolution: ``batch``: each feature map over the batch (Ioffe and
    Szegedy, 2015); for small batches ``layer``: all feature maps of a sample, or ``group``: up to
    eight groups of them; or ``none``."""
    activation: ActivationSetting = "relu"
    """Activation after each convolution and after the hidden layer."""
    pooling: PoolingName = "max"
    """Pooling at the end of each block."""
    pool_size: Annotated[int, Field(ge=1), Unit("pixels")] = 2
    """Size of the pooling window along each axis."""
    pool_padding: PaddingName = "valid"
    """``valid``: positions after the last full window are dropped, ⌊size / pool_size⌋ remain;
    ``same``: windows reach beyond the border, ⌈size / pool_size⌉ remain, and what is beyond does
    not count."""
    head: Literal["dense", "global_average"] = "dense"
    """Input of the head: all values of the last feature maps (``dense``), or the mean of each
    (``global_average``, Lin et al., 2014), which accepts inputs of any size and has fewer
    weights."""
    hidden: Annotated[int, Field(ge=0), Unit("units")] = 128
    """Units of the dense hidden layer; 0 for none."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.25
    """Dropout probability of the head's inputs (Srivastava et al., 2014)."""

    @property
    def fixed_size(self) -> str:
        """See :class:`ModelSection`."""
        if self.head == "global_average":
            return ""
        return "its dense head has a weight for each position (`model.head: global_average` has none)"

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> CNN:
        """Build the module for series, images or volumes.

        Raises:
            ConfigError: the inputs are too small for the number of blocks, the kernel size is even,
                or the feature maps are not divisible by the groups.
        """
        if faults := list(self._faults(data.input_shape[1:])):
            raise ConfigError(*faults)
        return CNN(self, data, recipe)

    def sizes_after(self, num_blocks: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of each axis after a number of blocks; below 1 where nothing remains."""
        for number in range(num_blocks * self.convolutions):
            stride = 1 if number % self.convolutions else self.stride
            sizes = tuple(size_after(n, self.kernel_size, stride, self.dilation, self.padding) for n in sizes)
            if (number + 1) % self.convolutions == 0 and self.pooling != "none":
                sizes = tuple(size_after_pooling(n, self.pool_size, self.pool_padding) for n in sizes)
        return sizes

    def _faults(self, sizes: tuple[int, ...]) -> Iterator[Fault]:
        if self.padding == "same" and self.kernel_size % 2 == 0:
            yield Fault("model.kernel_size", "must be odd", value=self.kernel_size)
        num_blocks = len(self.channels)
        if min(self.sizes_after(num_blocks, sizes)) < 1:
            limit = max(n for n in range(num_blocks) if min(self.sizes_after(n, sizes)) >= 1)
            yield Fault(
                "model.channels",
                f"has too many blocks: nothing remains of {'×'.join(map(str, sizes))} inputs after {limit + 1} blocks",
                value=self.channels,
                allowed=f"at most {limit} blocks" if limit else "",
                remedy="" if limit else "lower model.kernel_size, model.dilation, model.stride or model.pool_size",
            )
        if self.groups > 1 and num_blocks * self.convolutions == 1:
            yield Fault("model.groups", "needs a second convolution", value=self.groups, allowed="1")
        elif any(num % self.groups for num in self.channels):
            yield Fault("model.channels", f"must be multiples of model.groups, {self.groups}", value=self.channels)


class CNN(Supervised):
    """Convolution blocks, a dense hidden layer, a linear head."""

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
            blocks.append(pooling(config.pooling, len(sizes), config.pool_size, config.pool_padding))
        self.features = nn.Sequential(*blocks)
        if config.head == "dense":
            num_in *= math.prod(config.sizes_after(len(config.channels), tuple(sizes)))
        head: list[nn.Module] = [
            nn.Flatten() if config.head == "dense" else GlobalAverage(),
            nn.Dropout(config.dropout),
        ]
        if config.hidden:
            head += dense_block(num_in, config.hidden, config.activation, bias=config.bias)
        self.classifier = nn.Sequential(*head, nn.Linear(config.hidden or num_in, data.num_outputs, bias=config.bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
