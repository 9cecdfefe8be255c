"""Deep convolutional GAN of images, with transposed convolutions (Radford et al., 2016)."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.models.base import ModelConfig
from hpc_dl.models.gan import GAN, usual_penalty
from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.adversarial import AdversarialLoss
from hpc_dl.schema import Unit

_KERNEL = 4
_STD = 0.02  # of the initial weights
_SLOPE = 0.2  # of the discriminator's leaky ReLU


class DCGANConfig(ModelConfig):
    """A generator of transposed convolutions and a discriminator of strided convolutions.

    All kernels are 4 × 4 with stride 2, without pooling and without hidden dense layers; batch
    normalization follows each of them but the generator's last and the discriminator's first.
    """

    inputs = ("image",)
    tasks = ("generation",)
    metrics = ("coverage", "modes", "quality")
    small = {"latent": 2, "channels": [4]}

    name: Literal["dcgan"] = "dcgan"
    """Name of the architecture."""
    latent: Annotated[int, Field(ge=1), Unit("numbers")] = 100
    """Size of the generator's input, random numbers from N(0, 1)."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("feature maps")] = [128, 64]
    """Feature maps of the generator from the coarsest to the finest, each of which is doubled in
    height and width; the discriminator has them in reverse order. The image's sides must be
    multiples of 2 to the power of their number."""
    activation: ActivationSetting = "relu"
    """Activation in the generator; the discriminator has a leaky ReLU with slope 0.2."""
    output: Literal["sigmoid", "tanh", "none"] = "sigmoid"
    """Activation of the generator's pixels: ``sigmoid`` for ``data.scaling: unit``, the default of
    images of bytes; ``tanh`` for values in [−1, 1]; ``none`` for others."""
    loss: AdversarialLoss = "plain"
    """``plain``: the non-saturating loss (Goodfellow et al., 2014), as published; ``relativistic``:
    compares real and generated samples in pairs (Jolicoeur-Martineau, 2019)."""
    penalty: Annotated[float, Field(ge=0)] | None = None
    """Factor γ of the gradient penalties, as for ``gan``; the discriminator then has no batch
    normalization, since its outputs must depend on one sample only. null: 1 for ``relativistic``, 0
    for ``plain``."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GAN:
        """Build the module for images.

        Raises:
            ConfigError: the images cannot be halved so often, or the schedule does not suit.
        """
        num_channels, *sizes = data.input_shape
        factor = 2 ** len(self.channels)
        if any(size % factor for size in sizes):
            common = math.gcd(*sizes)
            raise ConfigError.at(
                "model.channels",
                f"halves the images {len(self.channels)} times, but {sizes[0]}×{sizes[1]} is not divisible by {factor}",
                value=self.channels,
                allowed=f"at most {(common & -common).bit_length() - 1} numbers",
            )
        penalty = usual_penalty(self.loss) if self.penalty is None else self.penalty
        coarse = tuple(size // factor for size in sizes)
        generator, discriminator = (
            self._generator(num_channels, coarse),
            self._discriminator(num_channels, coarse, batch_norm=not penalty),
        )
        for layer in (*generator.modules(), *discriminator.modules()):
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, std=_STD)
        return GAN(generator, discriminator, self.latent, self.loss, penalty, data, recipe)

    def _generator(self, num_channels: int, coarse: tuple[int, ...]) -> nn.Sequential:
        """Map (B, latent) to (B, num_channels, *sizes); ``coarse`` are the first sizes."""
        first, *others = self.channels
        wider = pieces(self.activation)
        layers: list[nn.Module] = [
            nn.Linear(self.latent, first * wider * math.prod(coarse), bias=False),
            nn.Unflatten(1, (first * wider, *coarse)),
            nn.BatchNorm2d(first * wider),
            activation(self.activation, first),
        ]
        for num_in, num_out in itertools.pairwise([first, *others]):
            layers += [
                nn.ConvTranspose2d(num_in, num_out * wider, _KERNEL, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(num_out * wider),
                activation(self.activation, num_out),
            ]
        layers.append(nn.ConvTranspose2d(self.channels[-1], num_channels, _KERNEL, stride=2, padding=1))
        if self.output != "none":
            layers.append(nn.Sigmoid() if self.output == "sigmoid" else nn.Tanh())
        return nn.Sequential(*layers)

    def _discriminator(self, num_channels: int, coarse: tuple[int, ...], *, batch_norm: bool) -> nn.Sequential:
        """Map (B, num_channels, *sizes) to logits (B, 1)."""
        first, *others = self.channels[::-1]
        layers: list[nn.Module] = [nn.Conv2d(num_channels, first, _KERNEL, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        for num_in, num_out in itertools.pairwise([first, *others]):
            layers.append(nn.Conv2d(num_in, num_out, _KERNEL, stride=2, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(num_out))
            layers.append(nn.LeakyReLU(_SLOPE))
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(self.channels[0] * math.prod(coarse), 1))
