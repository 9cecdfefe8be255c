"""Vision Transformer (ViT): an image as a sequence of square patches (Dosovitskiy et al., 2021)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.attention import Encoder, EncoderOptions, PositionalEncoding
from hpc_dl.schema import Unit


class ViTConfig(EncoderOptions, ModelConfig):
    """Patches, mapped linearly to vectors, then a Transformer encoder."""

    inputs = ("image",)
    small = {"width": 16, "depth": 1, "heads": 2, "dropout": 0.0}

    name: Literal["vit"] = "vit"
    """Name of the architecture."""
    patch_size: Annotated[int, Field(ge=1), Unit("pixels")] = 4
    """Width and height of a patch; those of the images must be multiples of it."""
    depth: Annotated[int, Field(ge=1), Unit("blocks")] = 4
    """Number of blocks; each is self-attention followed by a dense network."""
    read_out: Literal["mean", "class_token"] = "class_token"
    """What the output of an image is computed from: the ``mean`` of its patches, or a
    ``class_token`` that is added before them."""

    @property
    def fixed_size(self) -> str:
        """See :class:`ModelSection`."""
        return "it has learned a vector for the position of each patch"

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> ViT:
        """Build the module for images of one size.

        Raises:
            ConfigError: the size of the images is not a multiple of the patch size.
        """
        _, height, width = data.input_shape
        if height % self.patch_size or width % self.patch_size:
            common = [size for size in range(1, min(height, width) + 1) if height % size == width % size == 0]
            raise ConfigError.at(
                "model.patch_size",
                f"does not divide images of {height}×{width} pixels",
                value=self.patch_size,
                allowed=", ".join(map(str, common)),
            )
        return ViT(self, data, recipe)


class ViT(Supervised):
    """Patches, learned positions, a Transformer encoder, a linear head."""

    def __init__(self, config: ViTConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        channels, height, width = data.input_shape
        size = config.patch_size
        self.patches = nn.Conv2d(channels, config.width, size, stride=size)
        with_token = config.read_out == "class_token"
        self.class_token = nn.Parameter(torch.zeros(config.width)) if with_token else None
        self.positions = PositionalEncoding("learned", config.width, (height // size) * (width // size))
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.width, data.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to (B, num_outputs)."""
        steps = self.positions(self.patches(x).flatten(2).mT)
        if self.class_token is not None:
            steps = torch.cat([self.class_token.expand(steps.shape[0], 1, -1), steps], dim=1)
        encoded = self.encoder(steps)
        outputs: Tensor = self.head(encoded.mean(1) if self.class_token is None else encoded[:, 0])
        return outputs
