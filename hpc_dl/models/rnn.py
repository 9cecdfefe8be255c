"""Simple recurrent network (RNN), whose state feeds back at each step (Elman, 1990)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
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

    @torch.no_grad()
    def generate(self, start: Tensor, steps: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Continue a text: sample each next token from the predicted probabilities.

        Args:
            start: (B, T) int64 tokens of the text so far, T at least 1, on the module's device.
            steps: number of tokens to generate.
            temperature: divisor of the logits; below 1 favors probable tokens, 0 always selects the
                most probable one.
            seed: seed of the random numbers.

        Returns:
            (B, steps) int64 tokens.

        Raises:
            ConfigError: the network does not predict the next token, or the temperature is
                negative.
        """
        data = self.recipe.data
        if data.input_kind != "tokens" or not predicts_next(data):
            raise ConfigError.at(
                "data.targets", f"of {data.file} are not the next tokens", remedy="set `targets: null` with `windows`"
            )
        if temperature < 0:
            raise ConfigError.at("temperature", "must not be negative", value=temperature)
        training = self.training
        self.eval()
        generator = torch.Generator(start.device).manual_seed(seed)
        generated: list[Tensor] = []
        state: State | None = None
        tokens = start
        for _ in range(steps):
            _, last, state = self.layers(self.steps(tokens), None, state)
            logits = self.head(last)
            if temperature == 0:
                tokens = logits.argmax(1, keepdim=True)
            else:
                tokens = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)
            generated.append(tokens)
        self.train(training)
        return torch.cat(generated, 1) if generated else start[:, :0]
