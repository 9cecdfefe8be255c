"""Convolutional network for images: convolutions and pooling, then a dense layer (LeCun et al., 1998)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.learner import Learning
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.schema import Unit


class CNNConfig(ModelConfig):
    """Blocks of convolution, batch normalisation, activation and 2×2 max pooling, then one dense hidden layer."""

    inputs = ("image",)

    name: Literal["cnn"] = "cnn"
    """Which architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("feature maps per block")] = [
        32,
        64,
    ]
    """Feature maps of each block; the number of entries is the number of blocks."""
    kernel_size: Annotated[int, Field(ge=1), Unit("pixels")] = 3
    """Width and height of the convolution kernels; odd, so that the padding keeps the image's size."""
    batch_norm: bool = True
    """Normalise each feature map over the batch (Ioffe and Szegedy, 2015)."""
    activation: ActivationName = "relu"
    """Activation after each convolution and after the hidden layer."""
    hidden: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Units of the dense hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.25
    """Share of the hidden layer's inputs switched off in training (Srivastava et al., 2014)."""

    def module(self, data: DataSpec, learning: Learning) -> CNN:
        """The module for images.

        Raises:
            ConfigError: the images are too small for so many poolings, or the kernel is even.
        """
        _, height, width = data.input_shape
        faults = []
        if self.kernel_size % 2 == 0:
            faults.append(Fault("model.kernel_size", "must be odd", value=self.kernel_size))
        if min(height, width) >> len(self.channels) < 1:
            most = min(height, width).bit_length() - 1
            faults.append(
                Fault(
                    "model.channels",
                    f"each block halves the image, and {height}×{width} pixels can be halved {most} times only",
                    value=self.channels,
                    allowed=f"at most {most} blocks",
                )
            )
        if faults:
            raise ConfigError(*faults)
        return CNN(self, data, learning)


class CNN(Supervised):
    """Convolution blocks that halve the image, a dense hidden layer, a linear head."""

    def __init__(self, config: CNNConfig, data: DataSpec, learning: Learning) -> None:
        super().__init__(learning)
        channels, height, width = data.input_shape
        blocks: list[nn.Module] = []
        for num_out in config.channels:
            blocks.append(nn.Conv2d(channels, num_out, config.kernel_size, padding="same", bias=not config.batch_norm))
            if config.batch_norm:
                blocks.append(nn.BatchNorm2d(num_out))
            blocks += [activation(config.activation), nn.MaxPool2d(2)]
            channels, height, width = num_out, height // 2, width // 2
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(channels * height * width, config.hidden),
            activation(config.activation),
            nn.Linear(config.hidden, data.num_outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (batch, channels, height, width) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.features(x))
        return outputs
