"""Simple recurrent network (RNN), whose state feeds back at each step (Elman, 1990)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_model import SEQUENCE_INPUTS, SEQUENCE_TASKS, SequenceModel, predicts_next
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions, State
from hpc_dl.nn.sequences import mean_of_steps


class RNNConfig(RecurrentOptions, ModelConfig):
    """Layers of h(t) = tanh(W x(t) + U h(t − 1) + b)."""

    inputs = SEQUENCE_INPUTS
    tasks = SEQUENCE_TASKS
    small = {"hidden": 16, "embedding": 8, "vocabulary": 32}

    name: Literal["rnn"] = "rnn"
    """Name of the architecture."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the states."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Recurrent:
        """Build the module for tokens, sequences and series.

        Raises:
            ConfigError: the targets do not match the steps, or an option does not fit the data.
        """
        return Recurrent(self, partial(nn.RNN, nonlinearity=self.activation), recipe)


class Recurrent(SequenceModel):
    """Recurrent layers, then a linear head on all states, the last state, or their mean."""

    def __init__(self, options: RecurrentOptions, cell: Callable[..., nn.RNNBase], recipe: TrainingRecipe) -> None:
        super().__init__(recipe, options.embedding, options.vocabulary)
        if options.bidirectional and predicts_next(recipe.data):
            raise ConfigError.at(
                "model.bidirectional",
                "would let the network read the next steps, which it has to predict",
                value=True,
                allowed="false where `data.targets` are later steps of the inputs",
            )
        self.layers = RecurrentLayers(cell, self.steps.size, options)
        self.read_out = options.read_out
        self.head = nn.Linear(self.layers.size, self.num_outputs)

    def forward_steps(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Map (B, T, F) to (B, T, num_outputs) or (B, num_outputs), see :class:`SequenceModel`."""
        states, last, _ = self.layers(steps, lengths)
        if not self.per_step:
            states = last if self.read_out == "last" else mean_of_steps(states, lengths)
        outputs: Tensor = self.head(states)
        return outputs

    def next_logits(self, tokens: Tensor, memory: State | None) -> tuple[Tensor, State]:
        """Read only the new tokens, from the states after the former ones."""
        _, last, states = self.layers(self.steps(tokens), None, memory)
        return self.head(last), states
