"""Residual network (ResNet) of 18, 34 or 50 layers (He et al., 2015)."""

from __future__ import annotations

from collections.abc import Mapping
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
from hpc_dl.nn.pretrained_names import renamed
from hpc_dl.schema import Unit

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class ResNetConfig(ModelConfig):
    """A stem, four stages of residual blocks, and global average pooling.

    Each stage but the first halves the size and doubles the feature maps.
    """

    inputs = ("series", "image", "volume")
    small = {"width": 4}

    name: Literal["resnet"] = "resnet"
    """Name of the architecture."""
    depth: Annotated[Literal[18, 34, 50], Unit("layers")] = 18
    """Number of layers with weights from input to output: 18 and 34 use basic blocks, 50
    bottlenecks."""
    width: Annotated[int, Field(ge=1), Unit("feature maps")] = 64
    """Feature maps of the first stage; 64 in the paper. Half of it needs a quarter of the
    computation."""
    stem: StemName = "auto"
    """First layers: ``large``: kernel 7 and pooling, each of which halves the axes; ``medium``:
    kernel 3 and pooling, which halves the axes; ``small``: kernel 3, which keeps the size;
    ``auto``: ``large`` if each axis has 64 positions or more, else ``small``."""
    norm: NormName = "batch"
    """Normalization after each convolution, as in ``cnn``."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the head's inputs (Srivastava et al., 2014); 0 in the paper."""

    @property
    def fixed_size(self) -> str:
        """Empty: the mean over all positions."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> ResNet:
        """Build the module for series, images or volumes of any size."""
        return ResNet(self, data, recipe)


class Residual(nn.Module):
    """A residual block: relu(x + layers(x)).

    It maps (B, num_in, *sizes) to (B, num_out, *⌈sizes / stride⌉). Where the shapes differ, x goes
    through a convolution with kernel size 1 (option B of the paper).
    """

    def __init__(
        self, num_axes: int, num_in: int, width: int, stride: int, norm: NormName, bottleneck: bool = False
    ) -> None:
        """Build the layers.

        Args:
            num_axes: 1 for series, 2 for images, 3 for volumes.
            num_in: input feature maps.
            width: feature maps of the convolutions with kernel size 3; the output has as many, or
                four times as many with a bottleneck.
            stride: stride of the first convolution with kernel size 3.
            norm: normalization after each convolution.
            bottleneck: three convolutions with kernel sizes 1, 3, 1 instead of two with 3.
        """
        super().__init__()
        num_out = 4 * width if bottleneck else width
        layers: list[nn.Module] = []
        if bottleneck:
            layers.append(convolution_block(num_axes, num_in, width, 1, norm=norm))
        # In a bottleneck the paper puts the stride in the convolution with kernel size 1, which
        # then ignores most of its inputs.
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
        """Add the layers' outputs to the inputs."""
        total: torch.Tensor = self.shortcut(x) + self.layers(x)
        return total.relu()


class ResNet(Supervised):
    """Stem, four stages of residual blocks, the mean over all positions, a linear head."""

    def __init__(self, config: ResNetConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        num_channels, *sizes = data.input_shape
        num_axes, num_in, bottleneck = len(sizes), config.width, config.depth >= 50
        self._depth = config.depth
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
        """Map (B, C, *sizes) to (B, num_outputs)."""
        outputs: torch.Tensor = self.classifier(self.blocks(self.stem(x)))
        return outputs

    def own_names(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rename the weights of torchvision's ResNets, whose names timm's ``resnet18`` … share.

        The layers are the same if the stem is ``large``; a smaller stem stays fresh.
        """
        return renamed(weights, _torchvision_modules(self._depth))


def _torchvision_modules(depth: int) -> dict[str, str]:
    """The name of each module here by its name in torchvision."""
    modules = {"conv1": "stem.0.0", "bn1": "stem.0.1", "fc": "classifier.2"}
    places = [(stage, number) for stage, total in enumerate(_BLOCKS[depth], 1) for number in range(total)]
    num_convolutions = 3 if depth >= 50 else 2
    for block, (stage, number) in enumerate(places):
        theirs, own = f"layer{stage}.{number}", f"blocks.{block}"
        for index in range(num_convolutions - 1):
            modules[f"{theirs}.conv{index + 1}"] = f"{own}.layers.{index}.0"
            modules[f"{theirs}.bn{index + 1}"] = f"{own}.layers.{index}.1"
        modules[f"{theirs}.conv{num_convolutions}"] = f"{own}.layers.{num_convolutions - 1}"
        modules[f"{theirs}.bn{num_convolutions}"] = f"{own}.layers.{num_convolutions}"
        modules |= {f"{theirs}.downsample.{index}": f"{own}.shortcut.{index}" for index in range(2)}
    return modules
