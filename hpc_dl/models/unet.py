"""U-Net: dense prediction with skip connections between scales (Ronneberger et al., 2015).

For volumes, see Çiçek et al. (2016). Unlike in these papers, convolutions are padded, so that the
outputs have the size of the inputs; sizes that cannot be halved often enough are padded first and
cropped afterward.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import NormName, convolution, convolution_block
from hpc_dl.nn.pooling import pooling
from hpc_dl.nn.upsampling import UpsamplingName, crop, dense_output_faults, pad_to_multiple, upsampling
from hpc_dl.schema import Unit


class UNetConfig(ModelConfig):
    """Levels of two convolutions, with max pooling on the way down and upsampling on the way up."""

    inputs = ("series", "image", "volume")
    tasks = ("segmentation", "sequence_labeling", "reconstruction")
    small = {"depth": 2, "width": 8}

    name: Literal["unet"] = "unet"
    """Name of the architecture."""
    depth: Annotated[int, Field(ge=1), Unit("halvings")] = 3
    """Number of times each axis is halved."""
    width: Annotated[int, Field(ge=1), Unit("feature maps")] = 16
    """Feature maps of the first level; each level has twice as many as the one above it; 64 in the
    paper."""
    kernel_size: Annotated[int, Field(ge=1), Unit("positions")] = 3
    """Size of the kernels along each axis; odd."""
    upsampling: UpsamplingName = "transposed"
    """``transposed``: transposed convolutions; ``interpolation``: linear interpolation and a
    convolution with kernel size 1."""
    skips: bool = True
    """Concatenate the feature maps of each level on the way down to those on the way up. Without,
    everything passes through the lowest level, as in an autoencoder."""
    norm: NormName = "batch"
    """Normalization after each convolution; ``group`` or ``layer`` for small batches."""
    activation: ActivationSetting = "relu"
    """Activation after each convolution."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the lowest level's outputs."""

    @property
    def fixed_size(self) -> str:
        """Empty: convolutions only."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> UNet:
        """Build the module for series, images or volumes with a target at each position.

        Raises:
            ConfigError: the inputs are too small for the depth, the kernel size is even, or the
                targets have another shape.
        """
        targets = [target.shape for target in data.targets]
        faults = dense_output_faults(data.input_shape[1:], targets, "model.depth", self.depth, self.depth)
        if self.kernel_size % 2 == 0:
            faults.append(Fault("model.kernel_size", "must be odd", value=self.kernel_size))
        if faults:
            raise ConfigError(*faults)
        return UNet(self, data, recipe)


class UNet(Supervised):
    """Levels on the way down, the lowest level, levels on the way up, a linear head."""

    def __init__(self, config: UNetConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        axes = len(data.input_shape) - 1
        settings: Any = {"norm": config.norm, "activation_name": config.activation}

        def level(num_in: int, num_out: int) -> nn.Sequential:
            return nn.Sequential(
                convolution_block(axes, num_in, num_out, config.kernel_size, **settings),
                convolution_block(axes, num_out, num_out, config.kernel_size, **settings),
            )

        *widths, lowest = [config.width << number for number in range(config.depth + 1)]
        joined = 2 if config.skips else 1
        self.down = nn.ModuleList(level(*pair) for pair in itertools.pairwise([data.num_channels, *widths]))
        self.pool = pooling("max", axes, 2)
        self.lowest = nn.Sequential(level(lowest // 2, lowest), nn.Dropout(config.dropout))
        self.rise = nn.ModuleList(upsampling(config.upsampling, axes, 2 * width, width) for width in widths[::-1])
        self.up = nn.ModuleList(level(joined * width, width) for width in widths[::-1])
        self.head = convolution(axes, config.width, recipe.task.output_shape[0])
        self.skips = config.skips
        self.multiple = 2**config.depth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs, *sizes); for reconstruction to (B, C, *sizes)."""
        sizes = x.shape[2:]
        x = pad_to_multiple(x, self.multiple)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
            x = self.pool(x)
        x = self.lowest(x)
        for rise, up, level in zip(self.rise, self.up, reversed(levels), strict=True):
            x = rise(x)
            x = up(torch.cat([level, x], 1) if self.skips else x)
        return crop(self.head(x), sizes)
