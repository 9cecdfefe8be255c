"""Autoencoder: a network that gives its inputs back through a narrow code (Hinton and
Salakhutdinov, 2006).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.convolution import convolution
from hpc_dl.nn.upsampling import halved, strided_upsampling
from hpc_dl.schema import Unit


class AutoencoderConfig(ModelConfig):
    """An encoder of dense layers, or of strided convolutions and dense layers, and a decoder that
    mirrors it.
    """

    tasks = ("reconstruction",)
    small = {"widths": [16], "code": 8}

    name: Literal["autoencoder"] = "autoencoder"
    """Which architecture."""
    code: Annotated[int, Field(ge=1), Unit("units")] = 30
    """Numbers that a sample is reduced to. Their layer is linear, as is that of the outputs."""
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Unit("units per layer")] = [512, 256]
    """Units of the encoder's hidden layers, from the input to the code; without any and with
    ``mse`` the network finds the subspace of the principal components (Bourlard and Kamp, 1988)."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Unit("feature maps per layer")] = []
    """Feature maps of convolutions with stride 2 before the dense layers; none for a network of
    dense layers only."""
    kernel_size: Annotated[int, Field(ge=1), Unit("steps, pixels or voxels")] = 3
    """Width of the convolutions' kernels along each axis; odd."""
    activation: ActivationName = "relu"
    """Activation after each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the inputs switched off in training: a denoising autoencoder (Vincent et al., 2008)."""
    output: Literal["none", "sigmoid"] = "none"
    """What the outputs pass through; ``sigmoid`` suits inputs that are scaled to [0, 1] and the
    loss ``mse``."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Autoencoder:
        """The module for inputs of any shape.

        Raises:
            ConfigError: vectors are to be convolution_block, the kernel is even, or the loss takes no
                sigmoid.
        """
        if self.channels and len(data.input_shape) == 1:
            raise ConfigError.at(
                "model.channels",
                "vectors have no axis along which they could be convolution_block",
                value=self.channels,
                allowed="[]",
                remedy="use dense layers (model.widths) only",
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError.at("model.kernel_size", "must be odd", value=self.kernel_size)
        if self.output == "sigmoid" and recipe.task.config.name == "bce":
            raise ConfigError.at("model.output", "the loss bce has its own sigmoid", value=self.output, allowed="none")
        return Autoencoder(self, data, recipe)


class Autoencoder(Supervised):
    """Encoder, linear code, decoder."""

    def __init__(self, config: AutoencoderConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        channels, *size = data.input_shape
        down: list[nn.Module] = [nn.Dropout(config.dropout)] if config.dropout else []
        up: list[nn.Module] = [nn.Sigmoid()] if config.output == "sigmoid" else []  # from the end to the beginning
        for num_out in config.channels:
            down.append(convolution(len(size), channels, num_out, config.kernel_size, stride=2))
            down.append(activation(config.activation))
            up += [strided_upsampling(num_out, channels, config.kernel_size, size), activation(config.activation)]
            channels, size = num_out, halved(size)
        down.append(nn.Flatten())
        up.append(nn.Unflatten(1, (channels, *size)))
        widths = [channels * math.prod(size), *config.widths, config.code]
        self.encoder = nn.Sequential(*down, *_dense(widths, config.activation))
        self.decoder = nn.Sequential(*_dense(widths[::-1], config.activation), *up[::-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, *input_shape) to the same shape."""
        outputs: torch.Tensor = self.decoder(self.encoder(x))
        return outputs

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, *input_shape) to the codes (batch, code)."""
        code: torch.Tensor = self.encoder(x)
        return code


def _dense(widths: Sequence[int], name: ActivationName) -> list[nn.Module]:
    """Dense layers with an activation after each but the last."""
    layers: list[nn.Module] = []
    for num_in, num_out in itertools.pairwise(widths):
        layers += [nn.Linear(num_in, num_out), activation(name)]
    return layers[:-1]
