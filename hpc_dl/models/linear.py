"""Linear model: softmax (logistic) regression for classes, linear regression for values.

With a threshold in place of the softmax this is Rosenblatt's perceptron (1958). A single layer
cannot learn XOR (Minsky and Papert, 1969).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig


class LinearConfig(ModelConfig):
    """The smallest model: one weight for each pair of input and output."""

    name: Literal["linear"] = "linear"
    """Name of the architecture."""
    bias: bool = True
    """Add a bias to each output."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Linear:
        """Build the module for inputs of any shape, which it flattens."""
        return Linear(self, data, recipe)


class Linear(Supervised):
    """One linear layer on the flattened inputs."""

    def __init__(self, config: LinearConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.layer = nn.Linear(math.prod(data.input_shape), data.num_outputs, bias=config.bias)

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """There is no hidden layer."""
        return ("predict",)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, *input_shape) to (B, num_outputs)."""
        outputs: torch.Tensor = self.layer(x.flatten(1))
        return outputs
