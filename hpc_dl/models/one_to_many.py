"""One input, a sequence of symbols: an encoder and a recurrent decoder (Vinyals et al., 2015).

As in "Show and tell", a network reads an image and a recurrent one describes it. For vectors, the
encoder is dense; for series, images and volumes, convolutional.

Shapes: B samples.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.data.spec import DENSE, DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_writer import Encoded, SequenceWriter, WriterOptions
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.convolution import convolution_block
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.pooling import pooling
from hpc_dl.nn.recurrent import RecurrentOptions
from hpc_dl.schema import Unit


class OneToManyConfig(WriterOptions, ModelConfig):
    """An encoder turns the input into a vector; a decoder that starts from it writes symbols."""

    inputs = DENSE
    tasks = ("sequence_to_sequence",)
    small = {"channels": [4], "embedding": 8, "hidden": 8}

    name: Literal["one_to_many"] = "one_to_many"
    """Name of the architecture."""
    channels: Annotated[list[Annotated[int, Field(ge=1)]], Unit("feature maps per block")] = [32, 64]
    """Feature maps of each block of the encoder: a convolution, normalization and pooling, which
    halves the size. No effect for vectors."""
    activation: ActivationSetting = "relu"
    """Activation of the encoder."""
    hidden: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Size of the vector that represents an input, and of each layer of the decoder."""
    layers: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Number of recurrent layers."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the input's vector, of the tokens' vectors and of the states passed to
    the next layer and to the outputs."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> OneToMany:
        """Build the module for inputs of one size, and targets that differ in length.

        Raises:
            ConfigError: the inputs are too small for the number of blocks.
        """
        sizes = data.input_shape[1:]
        if sizes and min(sizes) >> len(self.channels) < 1:
            raise ConfigError.at(
                "model.channels",
                f"has too many blocks: nothing remains of {'×'.join(map(str, sizes))} inputs",
                value=self.channels,
                allowed=f"at most {int(math.log2(min(sizes)))} blocks",
            )
        return OneToMany(self, data, recipe)


class OneToMany(SequenceWriter):
    """Convolutions and a dense layer; the decoder's initial state is computed from its output."""

    def __init__(self, config: OneToManyConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe, config)
        num_in, *sizes = data.input_shape
        blocks: list[nn.Module] = []
        for num_out in config.channels if sizes else ():
            blocks += [
                convolution_block(len(sizes), num_in, num_out, 3, norm="batch", activation_name=config.activation),
                pooling("max", len(sizes), 2),
            ]
            num_in, sizes = num_out, [size // 2 for size in sizes]
        num_in *= math.prod(sizes)
        self.encoder = nn.Sequential(*blocks, nn.Flatten(), *dense_block(num_in, config.hidden, config.activation))
        self.state_shape = (config.layers, 2 if config.cell == "lstm" else 1, config.hidden)
        self.initial_state = nn.Linear(config.hidden, math.prod(self.state_shape))
        self.build_decoder(RecurrentOptions(hidden=config.hidden, layers=config.layers, dropout=config.dropout))

    def embed(self, x: Tensor) -> Tensor:
        """Represent samples by the vectors that the decoder starts from: (B, hidden)."""
        code: Tensor = self.encoder(x)
        return code

    def encoded(self, x: Tensor) -> Encoded:
        """See :class:`SequenceWriter`; attention has only one vector to attend to."""
        code = self.dropout(self.embed(x))
        states = self.initial_state(code).tanh().unflatten(1, self.state_shape).movedim(0, 2)
        state = [tuple(layer[:, None].contiguous()) if len(layer) == 2 else layer.contiguous() for layer in states]
        return Encoded(code[:, None], torch.ones(len(code), dtype=torch.int64, device=code.device), state)
