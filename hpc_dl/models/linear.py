"""Linear model: softmax (logistic) regression for classes, linear regression for values.

With a threshold in place of the softmax this is Rosenblatt's perceptron (1958); as a single layer
it cannot learn XOR (Minsky and Papert, 1969).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig


class LinearConfig(ModelConfig):
    """The smallest model: one weight for each input and output."""

    name: Literal["linear"] = "linear"
    """Which architecture."""
    bias: bool = True
    """Add a constant to each output."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Linear:
        """The module for inputs of any shape, which it flattens."""
        return Linear(self, data, recipe)


class Linear(Supervised):
    """One linear layer on the flattened input."""

    def __init__(self, config: LinearConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.layer = nn.Linear(math.prod(data.input_shape), data.num_outputs, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, *input_shape) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.layer(x.flatten(1))
        return outputs
