"""Autoencoder: reconstructs its inputs from a short code (Hinton and Salakhutdinov, 2006)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.convolution import convolution
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.initialization import initialized
from hpc_dl.nn.upsampling import halved, strided_upsampling
from hpc_dl.schema import Unit


class AutoencoderConfig(ModelConfig):
    """An encoder of dense layers, optionally after strided convolutions, and a mirrored decoder."""

    tasks = ("reconstruction",)
    small = {"widths": [16], "code": 8}

    name: Literal["autoencoder"] = "autoencoder"
    """Name of the architecture."""
    code: Annotated[int, Field(ge=1), Unit("units")] = 30
    """Size of the code, the output of the encoder. The code and the outputs are linear layers."""
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Unit("units per layer")] = [512, 256]
    """Units of the encoder's hidden layers, from input to code. With an empty list and the loss
    ``mse`` the code spans the subspace of the principal components (Bourlard and Kamp, 1988)."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Unit("feature maps per layer")] = []
    """Feature maps of convolutions with stride 2 before the dense layers; empty for dense layers
    only."""
    kernel_size: Annotated[int, Field(ge=1), Unit("steps, pixels or voxels")] = 3
    """Size of the convolution kernels along each axis; odd."""
    activation: ActivationSetting = "relu"
    """Activation after each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the inputs; above 0 it is a denoising autoencoder (Vincent et al.,
    2008)."""
    output: Literal["none", "sigmoid"] = "none"
    """Function applied to the outputs; ``sigmoid`` suits inputs scaled to [0, 1] with the loss
    ``mse``."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Autoencoder:
        """Build the module for inputs of any shape.

        Raises:
            ConfigError: vectors cannot be convolved, the kernel size is even, or the loss applies
                its own sigmoid.
        """
        if self.channels and len(data.input_shape) == 1:
            raise ConfigError.at(
                "model.channels",
                "needs inputs with an axis to convolve along, and these are vectors",
                value=self.channels,
                allowed="[]",
                remedy="use dense layers (model.widths) only",
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError.at("model.kernel_size", "must be odd", value=self.kernel_size)
        if self.output == "sigmoid" and recipe.task.config.name == "bce":
            raise ConfigError.at(
                "model.output", "has no effect: the loss bce applies a sigmoid", value=self.output, allowed="none"
            )
        return Autoencoder(self, data, recipe)


class Autoencoder(Supervised):
    """Encoder, linear code, decoder."""

    def __init__(self, config: AutoencoderConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        channels, *size = data.input_shape
        setting, k = config.activation, pieces(config.activation)
        down: list[nn.Module] = [nn.Dropout(config.dropout)] if config.dropout else []
        up: list[nn.Module] = [nn.Sigmoid()] if config.output == "sigmoid" else []  # in reverse order
        for number, num_out in enumerate(config.channels):
            convolved = convolution(len(size), channels, num_out * k, config.kernel_size, stride=2)
            down += [initialized(convolved, setting), activation(setting, num_out)]
            # The last upsampling has no activation after it, the others compute the pieces of one.
            if number == 0:
                restored = strided_upsampling(num_out, channels, config.kernel_size, size)
            else:
                restored = initialized(strided_upsampling(num_out, channels * k, config.kernel_size, size), setting)
            up += [restored, activation(setting, num_out)]
            channels, size = num_out, halved(size)
        widths = [channels * math.prod(size), *config.widths, config.code]
        self.encoder = nn.Sequential(*down, nn.Flatten(), *_dense(widths, setting))
        if config.channels:
            channels *= k
        decoded = _dense([*widths[:0:-1], channels * math.prod(size)], setting)
        if config.channels:
            initialized(decoded[-1], setting)
        self.decoder = nn.Sequential(*decoded, nn.Unflatten(1, (channels, *size)), *up[::-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, *input_shape) to (B, *input_shape)."""
        outputs: torch.Tensor = self.decoder(self.encoder(x))
        return outputs

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Represent samples by their codes, (B, code)."""
        return self.encode(x)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, *input_shape) to the codes (B, code)."""
        code: torch.Tensor = self.encoder(x)
        return code


def _dense(widths: Sequence[int], setting: ActivationSetting) -> list[Any]:
    """Build dense layers with an activation after each but the last."""
    *hidden, last = itertools.pairwise(widths)
    return [layer for pair in hidden for layer in dense_block(*pair, setting)] + [nn.Linear(*last)]
