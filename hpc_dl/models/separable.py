"""Depthwise separable convolutions, as in Xception and MobileNet (Chollet; Howard et al., 2017)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import NormName, convolution_block, separable_convolution
from hpc_dl.nn.pooling import GlobalAverage, overlapping_max_pooling
from hpc_dl.schema import Unit


class SeparableConfig(ModelConfig):
    """A plain convolution, blocks of separable convolutions, global average pooling."""

    inputs = ("series", "image", "volume")
    small = {"channels": [4, 8]}

    name: Literal["separable"] = "separable"
    """Name of the architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2), Unit("feature maps per block")] = [
        32,
        64,
        128,
    ]
    """Feature maps of the first convolution, then of each block."""
    convolutions: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Separable convolutions per block."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Size of the kernels along each axis; odd."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    activation: ActivationSetting = "relu"
    """Activation after each convolution, including the depthwise ones (Howard et al., 2017)."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the head's inputs (Srivastava et al., 2014)."""

    @property
    def fixed_size(self) -> str:
        """Empty: the mean over all positions."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Separable:
        """Build the module for series, images or volumes of any size.

        Raises:
            ConfigError: the kernel size is even.
        """
        if self.kernel_size % 2 == 0:
            raise ConfigError.at("model.kernel_size", "must be odd", value=self.kernel_size)
        return Separable(self, data, recipe)


class Separable(Supervised):
    """A plain convolution, blocks of separable ones, the mean over all positions, a linear head."""

    def __init__(self, config: SeparableConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_axes = len(data.input_shape) - 1
        first, *others = config.channels
        layers: list[nn.Module] = [
            convolution_block(
                num_axes,
                data.num_channels,
                first,
                config.kernel_size,
                norm=config.norm,
                activation_name=config.activation,
            )
        ]
        num_in = first
        for num_out in others:
            layers.append(overlapping_max_pooling(num_axes))
            for _ in range(config.convolutions):
                layers.append(
                    separable_convolution(
                        num_axes,
                        num_in,
                        num_out,
                        config.kernel_size,
                        norm=config.norm,
                        activation_name=config.activation,
                    )
                )
                num_in = num_out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            GlobalAverage(), nn.Dropout(config.dropout), nn.Linear(num_in, data.num_outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
