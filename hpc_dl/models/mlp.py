"""Multi-layer perceptron (MLP): dense hidden layers (Rumelhart, Hinton and Williams, 1986)."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.dense import DenseNormName, dense_block
from hpc_dl.schema import Unit


class MLPConfig(ModelConfig):
    """Hidden layers on the flattened inputs."""

    small = {"depth": 2, "width": 16}

    name: Literal["mlp"] = "mlp"
    """Name of the architecture."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 2
    """Number of hidden layers."""
    width: Annotated[int, Field(ge=1), Unit("units")] = 256
    """Units of each hidden layer."""
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), Unit("units")] | None = None
    """Units of each hidden layer as a list, instead of ``depth`` and ``width``."""
    norm: DenseNormName = "none"
    """Normalization before each activation: ``batch``: each unit over the batch (Ioffe and Szegedy,
    2015); ``layer``: the units of each sample (Ba et al., 2016)."""
    activation: ActivationSetting = "relu"
    """Activation after each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the hidden units (Srivastava et al., 2014)."""
    bias: bool = True
    """Add a bias to each unit; with normalization, which has its own, only to the outputs."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> MLP:
        """Build the module for inputs of any shape, which it flattens.

        Raises:
            ConfigError: both ``widths`` and ``depth`` or ``width`` are given.
        """
        conflicting = [f"model.{key}" for key in ("depth", "width") if not self.has_default(key)]
        if self.widths is not None and conflicting:
            raise ConfigError.at(
                "model.widths",
                f"replaces {' and '.join(conflicting)}",
                value=self.widths,
                remedy="keep only one of them",
            )
        return MLP(self, data, recipe)

    @property
    def hidden_sizes(self) -> list[int]:
        """The number of units of each hidden layer."""
        return [self.width] * self.depth if self.widths is None else self.widths


class MLP(Supervised):
    """Hidden layers, then a linear layer."""

    def __init__(self, config: MLPConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        sizes = [math.prod(data.input_shape), *config.hidden_sizes]
        layers: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(sizes):
            layers += dense_block(num_in, num_out, config.activation, norm=config.norm, bias=config.bias)
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], data.num_outputs, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, *input_shape) to (B, num_outputs)."""
        outputs: torch.Tensor = self.head(self.hidden(x.flatten(1)))
        return outputs
