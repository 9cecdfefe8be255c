"""Fully convolutional network (FCN): a prediction for each position (Long et al., 2015)."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import NormName, convolution, convolution_block
from hpc_dl.nn.upsampling import crop, dense_output_faults, linear_upsampling, pad_to_multiple
from hpc_dl.schema import Unit


class FCNConfig(ModelConfig):
    """Stages of two convolutions; the scores of the last stages are upsampled and added.

    All stages but the first halve the axes. The scores are upsampled by transposed convolutions
    that start as linear interpolation.
    """

    inputs = ("series", "image", "volume")
    tasks = ("segmentation", "sequence_labeling", "reconstruction")
    small = {"channels": [32, 32, 16], "skips": 2}

    name: Literal["fcn"] = "fcn"
    """Name of the architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2), Unit("feature maps per stage")] = [
        16,
        32,
        64,
        64,
    ]
    """Feature maps of each stage; each stage but the first halves the axes."""
    skips: Annotated[int, Field(ge=0), Unit("stages")] = 1
    """Number of stages before the last one whose scores are added: 0, 1 and 2 are FCN-32s, FCN-16s
    and FCN-8s of the paper."""
    kernel_size: Annotated[int, Field(ge=1), Unit("positions")] = 3
    """Size of the kernels along each axis; odd."""
    norm: NormName = "batch"
    """Normalization after each convolution; ``group`` or ``layer`` for small batches."""
    activation: ActivationSetting = "relu"
    """Activation after each convolution."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the last stage's outputs."""

    @property
    def fixed_size(self) -> str:
        """Empty: convolutions only."""
        return ""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> FCN:
        """Build the module for series, images or volumes with a target at each position.

        Raises:
            ConfigError: the inputs are too small for the number of stages, there are too few stages
                for the skips, the kernel size is even, or the targets have another shape.
        """
        halvings = len(self.channels) - 1
        targets = [target.shape for target in data.targets]
        faults = dense_output_faults(data.input_shape[1:], targets, "model.channels", self.channels, halvings)
        if self.kernel_size % 2 == 0:
            faults.append(Fault("model.kernel_size", "must be odd", value=self.kernel_size))
        if self.skips > halvings:
            faults.append(
                Fault(
                    "model.skips",
                    "exceeds the number of stages before the last one",
                    value=self.skips,
                    allowed=f"at most {halvings}",
                )
            )
        if faults:
            raise ConfigError(*faults)
        return FCN(self, data, recipe)


class FCN(Supervised):
    """Strided stages, class scores of the last ones, transposed convolutions."""

    def __init__(self, config: FCNConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        axes, num_outputs = len(data.input_shape) - 1, recipe.task.output_shape[0]
        settings: Any = {"norm": config.norm, "activation_name": config.activation}
        self.stages = nn.ModuleList(
            nn.Sequential(
                convolution_block(axes, num_in, num_out, config.kernel_size, stride=min(2, 1 + number), **settings),
                convolution_block(axes, num_out, num_out, config.kernel_size, **settings),
            )
            for number, (num_in, num_out) in enumerate(itertools.pairwise([data.num_channels, *config.channels]))
        )
        self.dropout = nn.Dropout(config.dropout)
        scored = config.channels[len(config.channels) - 1 - config.skips :]
        self.scores = nn.ModuleList(convolution(axes, channels, num_outputs) for channels in scored)
        self.raises = nn.ModuleList(linear_upsampling(axes, num_outputs, 2) for _ in range(config.skips))
        halvings = len(config.channels) - 1
        factor = 2 ** (halvings - config.skips)
        self.last = linear_upsampling(axes, num_outputs, factor) if factor > 1 else nn.Identity()
        self.multiple = 2**halvings

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What the last layer reads are class scores."""
        return ("predict",)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, *sizes) to (B, num_outputs, *sizes); for reconstruction to (B, C, *sizes)."""
        sizes = x.shape[2:]
        x = pad_to_multiple(x, self.multiple)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features[-1] = self.dropout(x)
        *finer, coarse = [score(level) for score, level in zip(self.scores, features[-len(self.scores) :], strict=True)]
        for rise, fine in zip(self.raises, reversed(finer), strict=True):
            coarse = rise(coarse) + fine
        return crop(self.last(coarse), sizes)
