"""Stacked dilated convolutions: they see far, keep the resolution, and label positions, too (Yu and
Koltun, 2016).
"""

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
from hpc_dl.nn.activations import ActivationName
from hpc_dl.nn.convolution import NormName, convolution, convolution_block
from hpc_dl.nn.pooling import GlobalAverage
from hpc_dl.schema import Unit


class DilatedConfig(ModelConfig):
    """A first convolution, then layers with dilations of 1, 2, 4, … without any pooling.

    With a stride of 1, kernels of K and L layers, an output sees 1 + (K − 1) · 2^L positions along
    each axis.
    """

    inputs = ("series", "image", "volume")
    tasks = ("classification", "multilabel", "regression", "segmentation", "sequence_labeling")
    small = {"width": 8, "layers": 2}

    name: Literal["dilated"] = "dilated"
    """Which architecture."""
    width: Annotated[int, Field(ge=1), Unit("feature maps")] = 32
    """Feature maps of each layer."""
    layers: Annotated[int, Field(ge=1, le=16), Unit("layers")] = 4
    """Layers after the first; the dilation doubles from each to the next, so each sees twice as
    far."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Size of the kernels along each axis; odd, so that the padding keeps the size."""
    stride: Annotated[int, Field(ge=1), Unit("pixels")] = 1
    """Of the first convolution; 2 makes an image classifier four times as fast. 1 for labels of
    each position."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    activation: ActivationName = "relu"
    """Activation after each convolution."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the head's inputs switched off in training (Srivastava et al., 2014)."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Dilated:
        """The module for series, images or volumes of any size.

        Raises:
            ConfigError: the kernel is even, or labels are wanted for other positions than those of
                the inputs.
        """
        faults = []
        if self.kernel_size % 2 == 0:
            faults.append(Fault("model.kernel_size", "must be odd", value=self.kernel_size))
        if data.task in PER_POSITION:
            if self.stride > 1:
                faults.append(Fault("model.stride", "must be 1 to label each position", value=self.stride))
            if data.targets[0].shape != data.input_shape[1:]:
                faults.append(
                    Fault(
                        "model.name",
                        f"gives a class for each of {'×'.join(map(str, data.input_shape[1:]))} positions, and the "
                        f"targets of {data.file} are of shape {data.targets[0].shape}",
                        value=self.name,
                        remedy="choose another architecture; `hpc-dl models NAME` says what one is for",
                    )
                )
        if faults:
            raise ConfigError(*faults)
        return Dilated(self, data, recipe)


class Dilated(Supervised):
    """A convolution, dilated ones, and a linear head: on the mean over all positions, or at each of
    them.
    """

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
        """Map (B, channels, *sizes) to (B, num_outputs), or (B, num_outputs, *sizes) with a class
        at each position.
        """
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
