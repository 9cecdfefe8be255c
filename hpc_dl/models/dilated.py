"""Dilated convolutions: a large receptive field at full resolution (Yu and Koltun, 2016)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import PER_POSITION, DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import NormName, convolution, convolution_block
from hpc_dl.nn.pooling import GlobalAverage
from hpc_dl.schema import Unit


class DilatedConfig(ModelConfig):
    """A first convolution, then layers with dilations 1, 2, 4, … and no pooling.

    The receptive field of L layers with kernel size K and stride 1 is 1 + (K − 1) · 2^L positions
    along each axis.
    """

    inputs = ("series", "image", "volume")
    tasks = ("classification", "multilabel", "regression", "segmentation", "sequence_labeling")
    small = {"width": 8, "layers": 2}

    name: Literal["dilated"] = "dilated"
    """Name of the architecture."""
    width: Annotated[int, Field(ge=1), Unit("feature maps")] = 32
    """Feature maps of each layer."""
    layers: Annotated[int, Field(ge=1, le=16), Unit("layers")] = 4
    """Number of dilated layers; the dilation doubles with each, and so does the receptive field."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Size of the kernels along each axis; odd."""
    stride: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """Stride of the first convolution; 2 makes an image classifier about four times as fast. Must
    be 1 for a target at each position."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    activation: ActivationSetting = "relu"
    """Activation after each convolution."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the head's inputs (Srivastava et al., 2014)."""

    @property
    def fixed_size(self) -> str:
        """Empty: convolutions only, or the mean over all positions."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Dilated:
        """Build the module for series, images or volumes of any size.

        Raises:
            ConfigError: the kernel size is even, or there is not one target for each position.
        """
        faults = []
        if self.kernel_size % 2 == 0:
            faults.append(Fault("model.kernel_size", "must be odd", value=self.kernel_size))
        if data.task in PER_POSITION:
            if self.stride > 1:
                faults.append(Fault("model.stride", "must be 1 for a target at each position", value=self.stride))
            if data.targets[0].shape != data.input_shape[1:]:
                faults.append(
                    Fault(
                        "model.name",
                        f"predicts a class at each of {'×'.join(map(str, data.input_shape[1:]))} positions, but the "
                        f"targets of {data.file} have the shape {data.targets[0].shape}",
                        value=self.name,
                        remedy="choose another architecture; `hpc-dl models NAME` shows the supported tasks",
                    )
                )
        if faults:
            raise ConfigError(*faults)
        return Dilated(self, data, recipe)


class Dilated(Supervised):
    """A convolution, dilated convolutions, and a linear head on each position or on their mean."""

    def __init__(self, config: DilatedConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_axes, width = len(data.input_shape) - 1, config.width

        def layer(num_in: int, stride: int = 1, dilation: int = 1) -> nn.Module:
            return convolution_block(
                num_axes,
                num_in,
                width,
                config.kernel_size,
                norm=config.norm,
                activation_name=config.activation,
                stride=stride,
                dilation=dilation,
            )

        self.features = nn.Sequential(
            layer(data.num_channels, stride=config.stride),
            *[layer(width, dilation=2**number) for number in range(config.layers)],
        )
        dropout = nn.Dropout(config.dropout)
        if data.task in PER_POSITION:
            self.classifier = nn.Sequential(dropout, convolution(num_axes, width, data.num_outputs))
        else:
            self.classifier = nn.Sequential(GlobalAverage(), dropout, nn.Linear(width, data.num_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs), or per position to (B, num_outputs, *sizes)."""
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
