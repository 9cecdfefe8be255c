"""Sequence to sequence: recurrent encoder and decoder with attention (Bahdanau et al., 2015).

Encoder and decoder follow Sutskever et al. (2014). The attention reads the decoder's states after
the recurrence, and its result is used for the output only (Luong et al., 2015): in training all
steps of the targets are computed at once.

Shapes: B samples, D directions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.sequence_writer import CELLS, Encoded, SequenceWriter, WriterOptions
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions
from hpc_dl.nn.sequences import StepEmbedding, pad
from hpc_dl.schema import Unit


class Seq2SeqConfig(WriterOptions, ModelConfig):
    """An encoder reads the inputs; a decoder generates symbols up to the end symbol."""

    inputs = ("tokens",)
    tasks = ("sequence_to_sequence",)
    small = {"embedding": 8, "hidden": 8, "vocabulary": 32}

    name: Literal["seq2seq"] = "seq2seq"
    """Name of the architecture."""
    attention: Literal["none", "dot", "additive"] = "additive"
    """Attention of the decoder to the encoder's states: by a product (``dot``, Luong et al., 2015),
    by a small network (``additive``, Bahdanau et al., 2015), or ``none``: only the encoder's last
    state is used."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different input tokens; null: as many as in the targets. Larger token numbers are
    treated as the last one, "unknown"."""
    hidden: Annotated[int, Field(ge=1), Unit("units")] = 64
    """Hidden units of each encoder layer, in each direction; a decoder layer has as many as all
    directions together."""
    layers: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Number of recurrent layers of the encoder, and of the decoder."""
    bidirectional: bool = True
    """Also read the inputs from their end (Schuster and Paliwal, 1997)."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the tokens' vectors and of the states passed to the next layer and to
    the outputs (Zaremba et al., 2014)."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Seq2Seq:
        """Build the module for tokens and targets that differ in length.

        Raises:
            ConfigError: inputs or targets all have the same length.
        """
        if not (data.inputs[0].ragged and data.targets[0].ragged):
            raise ConfigError.at(
                "model.name",
                f"needs inputs and targets of varying length, and those of {data.file} have a fixed length",
                value=self.name,
                remedy="store the offsets of their samples (`inputs_offsets`, `targets_offsets`), and remove "
                "`data.windows`",
            )
        return Seq2Seq(self, data, recipe)


class Seq2Seq(SequenceWriter):
    """A recurrent encoder, and a decoder that attends to its states."""

    def __init__(self, config: Seq2SeqConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe, config)
        encoder = RecurrentOptions(
            hidden=config.hidden, layers=config.layers, bidirectional=config.bidirectional, dropout=config.dropout
        )
        self.tokens = StepEmbedding(0, config.vocabulary or data.num_outputs, config.embedding)
        self.encoder = RecurrentLayers(CELLS[config.cell], config.embedding, encoder)
        decoder = RecurrentOptions(hidden=self.encoder.size, layers=config.layers, dropout=config.dropout)
        self.build_decoder(decoder, config.attention)

    def embed(self, x: Ragged) -> Tensor:
        """Represent samples by the encoder's last state, of both directions: (B, width)."""
        steps, lengths = pad(*x)
        last: Tensor = self.encoder(self.dropout(self.tokens(steps)), lengths)[1]
        return last

    def encoded(self, x: Ragged) -> Encoded:
        """See :class:`SequenceWriter`."""
        steps, lengths = pad(*x)
        memory, _, final = self.encoder(self.dropout(self.tokens(steps)), lengths)
        return Encoded(memory, lengths, [_joined_directions(state) for state in final])


def _joined_directions(state: Any) -> Any:
    """Concatenate the directions of a layer's last state: (D, B, units) to (1, B, D · units)."""
    if isinstance(state, tuple):  # hidden state and cell state of an LSTM
        return tuple(map(_joined_directions, state))
    return state.transpose(0, 1).flatten(1)[None]
