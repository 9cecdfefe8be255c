"""Perceptron: one layer that learns from misclassified samples only (Rosenblatt, 1958).

Its learning rule is stochastic gradient descent on the perceptron criterion: ``optimizer: {name:
sgd, lr: 1}`` and ``data.batch_size: 1``. It classifies all samples correctly after finitely many
steps if a plane separates the classes (Novikoff, 1962), and cannot learn XOR (Minsky and Papert,
1969).
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
from hpc_dl.nn.initialization import Initialization


class PerceptronConfig(ModelConfig):
    """One weight per input and class; ``loss.name: auto`` is the perceptron criterion."""

    tasks = ("classification",)
    auto_loss = "perceptron"
    # With weights of zero all outputs are equal and the loss is 0, so that it could not fall.
    small = {"init": {"weights": "normal", "std": 1.0}}

    name: Literal["perceptron"] = "perceptron"
    """Name of the architecture."""
    bias: bool = True
    """Add a bias to each output: the threshold."""
    init: Initialization = Initialization(weights="zeros", bias=0.0)
    """Initial weights: zeros, so that the learning rate changes only the scale of the weights."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Perceptron:
        """Build the module for inputs of any shape, which it flattens."""
        return Perceptron(self, data, recipe)


class Perceptron(Supervised):
    """One linear layer on the flattened inputs; the highest output is the predicted class."""

    def __init__(self, config: PerceptronConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
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
