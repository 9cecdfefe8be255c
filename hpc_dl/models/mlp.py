"""Multi-layer perceptron: fully connected hidden layers (Rumelhart, Hinton and Williams, 1986)."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.learner import Learning
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.schema import Unit


class MLPConfig(ModelConfig):
    """Hidden layers of equal width on the flattened input."""

    name: Literal["mlp"] = "mlp"
    """Which architecture."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Number of hidden layers."""
    width: Annotated[int, Field(ge=1), Unit("units")] = 256
    """Units in each hidden layer."""
    activation: ActivationName = "relu"
    """Activation after each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the hidden units switched off in training (Srivastava et al., 2014)."""
    bias: bool = True
    """Add a constant to each unit."""

    def module(self, data: DataSpec, learning: Learning) -> MLP:
        """The module for inputs of any shape, which it flattens."""
        return MLP(self, data, learning)


class MLP(Supervised):
    """Hidden layers of equal width, then a linear layer."""

    def __init__(self, config: MLPConfig, data: DataSpec, learning: Learning) -> None:
        super().__init__(learning)
        sizes = [math.prod(data.input_shape), *[config.width] * config.depth]
        layers: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(sizes):
            layers += [nn.Linear(num_in, num_out, bias=config.bias), activation(config.activation)]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], data.num_outputs, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, *input_shape) to (batch, num_outputs)."""
        outputs: torch.Tensor = self.head(self.hidden(x.flatten(1)))
        return outputs
