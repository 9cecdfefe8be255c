"""Sequence to sequence: recurrent encoder and decoder with attention (Sutskever et al., 2014;
Bahdanau et al., 2015).

The decoder's states look up in the encoder's once they are there, and what they find is added for
the output only (Luong et al., 2015): all steps of the targets are then computed at once in
training.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.metrics import IGNORED
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.attention import CrossAttention
from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions, State
from hpc_dl.nn.sequences import StepEmbedding, mask, pad, unpad
from hpc_dl.schema import Unit


class Seq2SeqConfig(ModelConfig):
    """An encoder reads the tokens, a decoder writes the targets one after another until it writes
    their end.
    """

    inputs = ("tokens",)
    tasks = ("sequence_to_sequence",)
    small = {"embedding": 8, "hidden": 8, "vocabulary": 32}

    name: Literal["seq2seq"] = "seq2seq"
    """Which architecture."""
    cell: Literal["gru", "lstm"] = "gru"
    """Gated recurrent units (Cho et al., 2014) or long short-term memory (Hochreiter and
    Schmidhuber, 1997)."""
    attention: Literal["none", "dot", "additive"] = "additive"
    """How the decoder finds what it needs in the encoder's states: by their product (Luong et al.,
    2015), by a small network (Bahdanau et al., 2015); with ``none`` it has the encoder's last state
    alone."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different tokens of the inputs; null takes that of the targets. Larger ones are
    taken for the last one, the unknown."""
    embedding: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector that stands for a token."""
    hidden: Annotated[int, Field(ge=1), Unit("units")] = 64
    """Units of each layer of the encoder, in each direction; a layer of the decoder has as many as
    both together."""
    layers: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Recurrent layers of the encoder, and of the decoder."""
    bidirectional: bool = True
    """Read the inputs from their end, too (Schuster and Paliwal, 1997)."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the tokens' vectors and of the states switched off in training on their way up, to
    the next layer and to the outputs (Zaremba et al., 2014)."""
    max_length: Annotated[int, Field(ge=1), Unit("steps")] = 100
    """Steps to write where no target tells how many."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> Seq2Seq:
        """The module for tokens and targets of different lengths.

        Raises:
            ConfigError: they are not of lengths of their own.
        """
        if not (data.inputs[0].ragged and data.targets[0].ragged):
            raise ConfigError.at(
                "model.name",
                f"needs inputs and targets that differ in length, which those of {data.file} do not",
                value=self.name,
                remedy="store with each where its samples begin (`inputs_offsets`, `targets_offsets`), and leave out "
                "`data.windows`",
            )
        return Seq2Seq(self, data, recipe)


class Seq2Seq(Supervised):
    """Encoder, decoder, attention.

    The symbols are the K classes of the targets and number K: a decoder's first input, and the last
    thing it writes.
    """

    def __init__(self, config: Seq2SeqConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.boundary = data.num_outputs
        self.max_length = config.max_length
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        encoder = RecurrentOptions(
            hidden=config.hidden, layers=config.layers, bidirectional=config.bidirectional, dropout=config.dropout
        )
        self.tokens = StepEmbedding(0, config.vocabulary or data.num_outputs, config.embedding)
        self.encoder = RecurrentLayers(cell, config.embedding, encoder)
        width = self.encoder.size
        self.dropout = nn.Dropout(config.dropout)
        self.symbols = nn.Embedding(self.boundary + 1, config.embedding)
        decoder = RecurrentOptions(hidden=width, layers=config.layers, dropout=config.dropout)
        self.decoder = RecurrentLayers(cell, config.embedding, decoder)
        self.attention = None if config.attention == "none" else CrossAttention(config.attention, width)
        self.combine = (
            nn.Identity() if self.attention is None else nn.Sequential(nn.Linear(2 * width, width), nn.Tanh())
        )
        self.head = nn.Linear(width, self.boundary + 1)

    def forward(self, x: Ragged, targets: Ragged | None = None) -> Tensor:
        """Map samples of tokens to logits of symbols.

        Args:
            x: B samples of int64 tokens.
            targets: B samples of int64 symbols, each with its end: the decoder is given what comes
                before each of them (teacher forcing). None: it is given what it wrote itself,
                always its likeliest symbol.

        Returns:
            (total steps of the targets, K + 1); without targets (B, max_length, K + 1).
        """
        read = self._read(x)
        if targets is None:
            return self._written(read, self.max_length)
        wanted, lengths = pad(*targets)
        before = functional.pad(wanted[:, :-1], (1, 0), value=self.boundary)
        logits, _ = self._continued(before, read, read.state)
        return unpad(logits, lengths)

    def inputs_and_targets(self, batch: Any) -> tuple[Ragged, Ragged]:
        """The inputs; the targets, each with its end."""
        x, y = super().inputs_and_targets(batch)
        values, lengths = pad(*y)
        values = functional.pad(values, (0, 1)).scatter(1, lengths[:, None], self.boundary)
        offsets = y.offsets + torch.arange(len(y.offsets), device=y.offsets.device)
        return x, Ragged(unpad(values, lengths + 1), offsets)

    def outputs_for(self, x: Ragged, y: Ragged) -> Tensor:
        """(total steps, K + 1) logits of the targets' symbols, each after those before it."""
        outputs: Tensor = self(x, y)
        return outputs

    def _evaluate(self, split: str, batch: Any) -> None:
        """The loss is that of training; metrics judge what the decoder writes by itself."""
        x, y = self.inputs_and_targets(batch)
        task = self.recipe.task
        loss = task.loss(self.outputs_for(x, y), y)
        self.evaluation[f"{split}_loss"].update(loss, weight=task.weight(y))  # type: ignore[operator]
        wanted, lengths = pad(*y)
        wanted = wanted.masked_fill(~mask(lengths, wanted.shape[1]), IGNORED)
        found = self._written(self._read(x), wanted.shape[1]).argmax(-1)
        task.update(self.evaluation[split], found, wanted)  # type: ignore[arg-type]

    def _read(self, x: Ragged) -> _Read:
        steps, lengths = pad(*x)
        memory, _, after = self.encoder(self.dropout(self.tokens(steps)), lengths)
        return _Read(memory, lengths, [_joined(state) for state in after])

    def _continued(self, before: Tensor, read: _Read, state: State) -> tuple[Tensor, State]:
        """(B, T, K + 1) logits of what follows each of the symbols ``before`` (B, T), and the state
        after them.
        """
        states, _, state = self.decoder(self.dropout(self.symbols(before)), None, state)
        if self.attention is not None:
            states = torch.cat([states, self.attention(states, read.memory, read.lengths)], dim=-1)
        return self.head(self.combine(states)), state

    def _written(self, read: _Read, steps: int) -> Tensor:
        """(B, steps, K + 1) logits, greedily; what follows an end is of no meaning."""
        symbols = torch.full((len(read.memory), 1), self.boundary, device=read.memory.device)
        state, written = read.state, []
        for _ in range(steps):
            logits, state = self._continued(symbols, read, state)
            written.append(logits)
            symbols = logits.argmax(-1)
        return torch.cat(written, dim=1)


class _Read(NamedTuple):
    """What the encoder made of B samples: (B, S, width) states, (B,) lengths, and the state to
    begin to write with.
    """

    memory: Tensor
    lengths: Tensor
    state: State


def _joined(state: Any) -> Any:
    """Both directions of a layer's last state side by side: (directions, B, units) to (1, B,
    directions * units).
    """
    if isinstance(state, tuple):  # an LSTM's: what it shows, and what it keeps
        return tuple(map(_joined, state))
    return state.transpose(0, 1).flatten(1)[None]
