"""Residual network of 18, 34 or 50 layers: each block adds to what it gets (He et al., 2015)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.convolution import (
    NormName,
    StemName,
    convolution,
    convolution_block,
    initialize_for_relu,
    normalization,
    stem,
)
from hpc_dl.nn.pooling import GlobalAverage
from hpc_dl.schema import Unit

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNetConfig(ModelConfig):
    """A stem, four stages of residual blocks that halve the size and double the feature maps,
    global average.
    """

    inputs = ("series", "image", "volume")
    small = {"width": 4}

    name: Literal["resnet"] = "resnet"
    """Which architecture."""
    depth: Annotated[Literal[18, 34, 50], Unit("layers")] = 18
    """Layers with weights on the way through: 18 and 34 of basic blocks, 50 of bottlenecks."""
    width: Annotated[int, Field(ge=1), Unit("feature maps")] = 64
    """Feature maps of the first stage, 64 in the paper; half of it costs a quarter."""
    stem: StemName = "auto"
    """``large``: a kernel of 7 and a pooling that halve each axis twice; ``medium``: a kernel of 3
    and a pooling that halve it once; ``small``: a kernel of 3 that keeps the size; ``auto``: large
    from 64 positions along each axis, else small."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the head's inputs switched off in training (Srivastava et al., 2014); none in the
    paper."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> ResNet:
        """The module for series, images or volumes of any size."""
        return ResNet(self, data, recipe)


class Residual(nn.Module):
    """A block that adds to its inputs: relu(x + layers(x)).

    (B, num_in, *sizes) to (B, num_out, *sizes / stride rounded up); where that differs from the
    inputs, these go through a convolution of 1 (the paper's option B).
    """

    def __init__(
        self, num_axes: int, num_in: int, width: int, stride: int, norm: NormName, bottleneck: bool = False
    ) -> None:
        """Lay out the block.

        Args:
            num_axes: 1 for series, 2 for images, 3 for volumes.
            num_in: feature maps of the inputs.
            width: feature maps of its convolutions of 3; of the outputs, too, or four times as many
                with a bottleneck.
            stride: of its first convolution of 3.
            norm: normalization after each convolution.
            bottleneck: three convolutions of 1, 3 and 1 in place of two of 3.
        """
        super().__init__()
        num_out = 4 * width if bottleneck else width
        layers: list[nn.Module] = []
        if bottleneck:
            layers.append(convolution_block(num_axes, num_in, width, 1, norm=norm))
        # With a bottleneck the paper strides in the convolution of 1, which then drops most of what
        # it gets.
        layers.append(convolution_block(num_axes, width if bottleneck else num_in, width, 3, norm=norm, stride=stride))
        self.layers = nn.Sequential(
            *layers,
            convolution(num_axes, width, num_out, 1 if bottleneck else 3, bias=norm == "none"),
            normalization(norm, num_axes, num_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or num_in != num_out:
            self.shortcut = convolution_block(
                num_axes, num_in, num_out, 1, norm=norm, activation_name="none", stride=stride
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add to the inputs."""
        total: torch.Tensor = self.shortcut(x) + self.layers(x)
        return total.relu()


class ResNet(Supervised):
    """Stem, four stages of residual blocks, the mean over all positions, a linear head."""

    def __init__(self, config: ResNetConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_channels, *sizes = data.input_shape
        num_axes, num_in, bottleneck = len(sizes), config.width, config.depth >= 50
        blocks: list[nn.Module] = []
        for stage, num_blocks in enumerate(_BLOCKS[config.depth]):
            for number in range(num_blocks):
                width, stride = config.width << stage, 2 if stage and not number else 1
                blocks.append(Residual(num_axes, num_in, width, stride, config.norm, bottleneck))
                num_in = 4 * width if bottleneck else width
        self.stem = stem(config.stem, num_axes, num_channels, config.width, tuple(sizes), config.norm)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            GlobalAverage(), nn.Dropout(config.dropout), nn.Linear(num_in, data.num_outputs)
        )
        initialize_for_relu(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs (batch, channels, *sizes) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.blocks(self.stem(x)))
        return outputs
