"""Inception network (GoogLeNet): parallel kernels of sizes 1, 3, 5 (Szegedy et al., 2015)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.convolution import NormName, StemName, convolution_block, initialize_for_relu, stem
from hpc_dl.nn.pooling import GlobalAverage, overlapping_max_pooling
from hpc_dl.schema import Unit


class InceptionConfig(ModelConfig):
    """A stem, stages of Inception blocks with pooling between them, and global average pooling.

    It uses batch normalization (Ioffe and Szegedy, 2015), and no auxiliary classifiers.
    """

    inputs = ("series", "image", "volume")
    small = {"width": 4, "blocks": [1, 1]}

    name: Literal["inception"] = "inception"
    """Name of the architecture."""
    blocks: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("blocks per stage")] = [2, 2, 2]
    """Inception blocks of each stage; GoogLeNet has 2, 5, 2. Each stage halves the size and doubles
    the feature maps."""
    width: Annotated[int, Field(ge=4, multiple_of=4), Unit("feature maps")] = 64
    """Feature maps of the branch with kernel size 1 in the first stage; a block has four times as
    many in total."""
    stem: StemName = "auto"
    """First layers: ``large``: kernel 7 and pooling, each of which halves the axes; ``medium``:
    kernel 3 and pooling, which halves the axes; ``small``: kernel 3, which keeps the size;
    ``auto``: ``large`` if each axis has 64 positions or more, else ``small``."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.25
    """Dropout probability of the head's inputs (Srivastava et al., 2014); 0.4 in the paper."""

    @property
    def fixed_size(self) -> str:
        """Empty: the mean over all positions."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Inception:
        """Build the module for series, images or volumes of any size."""
        return Inception(self, data, recipe)


class InceptionBlock(nn.Module):
    """Four parallel branches, (B, num_in, *sizes) to (B, 4 · width, *sizes).

    The branches are a kernel of size 1; kernels of size 3 and of size 5, each after a reduction by
    kernel size 1; and a max pooling before kernel size 1. Their feature maps have the proportions
    of GoogLeNet's first block: 64, 96 → 128, 16 → 32 and 32 of 256.
    """

    def __init__(self, num_axes: int, num_in: int, width: int, norm: NormName) -> None:
        super().__init__()

        def layer(num_in: int, num_out: int, kernel_size: int = 1) -> nn.Module:
            return convolution_block(num_axes, num_in, num_out, kernel_size, norm=norm)

        self.branches = nn.ModuleList(
            [
                layer(num_in, width),
                nn.Sequential(layer(num_in, width * 3 // 2), layer(width * 3 // 2, width * 2, 3)),
                nn.Sequential(layer(num_in, width // 4), layer(width // 4, width // 2, 5)),
                nn.Sequential(overlapping_max_pooling(num_axes, stride=1), layer(num_in, width // 2)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Concatenate the feature maps of the branches."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(Supervised):
    """Stem, stages of Inception blocks, the mean over all positions, a linear head."""

    def __init__(self, config: InceptionConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_channels, *sizes = data.input_shape
        num_axes, num_in = len(sizes), config.width
        blocks: list[nn.Module] = []
        for stage, num_blocks in enumerate(config.blocks):
            if stage:
                blocks.append(overlapping_max_pooling(num_axes))
            for _ in range(num_blocks):
                width = config.width << stage
                blocks.append(InceptionBlock(num_axes, num_in, width, config.norm))
                num_in = 4 * width
        self.stem = stem(config.stem, num_axes, num_channels, config.width, tuple(sizes), config.norm)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            GlobalAverage(), nn.Dropout(config.dropout), nn.Linear(num_in, data.num_outputs)
        )
        initialize_for_relu(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.blocks(self.stem(x)))
        return outputs
