"""Perceptron: one layer that learns from its mistakes only, beginning with weights of zero
(Rosenblatt, 1958).

Its learning rule is stochastic gradient descent on the perceptron criterion: ``optimizer: {name:
sgd, lr: 1}`` and ``data.batch_size: 1``. It ends without a mistake where a plane separates the
classes (Novikoff, 1962), and cannot learn XOR (Minsky and Papert, 1969).
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
from hpc_dl.nn.initialization import Initialization


class PerceptronConfig(ModelConfig):
    """One weight for each input and class; with ``loss.name: auto`` the perceptron criterion is
    minimized.
    """

    tasks = ("classification",)
    auto_loss = "perceptron"
    # From zero it has no loss that could shrink: all outputs are equal.
    small = {"init": {"weights": "normal", "std": 1.0}}

    name: Literal["perceptron"] = "perceptron"
    """Which architecture."""
    bias: bool = True
    """Add a constant to each output: the threshold."""
    init: Initialization = Initialization(weights="zeros", bias=0.0)
    """How the weights begin: as zeros, so that the learning rate changes nothing but their scale."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Perceptron:
        """The module for inputs of any shape, which it flattens."""
        return Perceptron(self, data, recipe)


class Perceptron(Supervised):
    """One linear layer on the flattened input; the highest output tells the class."""

    def __init__(self, config: PerceptronConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.layer = nn.Linear(math.prod(data.input_shape), data.num_outputs, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, *input_shape) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.layer(x.flatten(1))
        return outputs
