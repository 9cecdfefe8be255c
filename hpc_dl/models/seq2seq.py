"""Sequence to sequence: recurrent encoder and decoder with attention (Bahdanau et al., 2015).

Encoder and decoder follow Sutskever et al. (2014). The attention reads the decoder's states after
the recurrence, and its result is used for the output only (Luong et al., 2015): in training all
steps of the targets are computed at once.

Shapes: B samples, S steps of the inputs, T steps of the targets, K classes of the targets.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED, DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.attention import CrossAttention
from hpc_dl.nn.beam_search import beam_search
from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions, State
from hpc_dl.nn.sequences import StepEmbedding, mask, pad, unpad
from hpc_dl.schema import Unit


class Seq2SeqConfig(ModelConfig):
    """An encoder reads the inputs; a decoder generates symbols up to the end symbol."""

    inputs = ("tokens",)
    tasks = ("sequence_to_sequence",)
    small = {"embedding": 8, "hidden": 8, "vocabulary": 32}

    name: Literal["seq2seq"] = "seq2seq"
    """Name of the architecture."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent cell: gated recurrent units (Cho et al., 2014) or long short-term memory
    (Hochreiter and Schmidhuber, 1997)."""
    attention: Literal["none", "dot", "additive"] = "additive"
    """Attention of the decoder to the encoder's states: by a product (``dot``, Luong et al., 2015),
    by a small network (``additive``, Bahdanau et al., 2015), or ``none``: only the encoder's last
    state is used."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different input tokens; null: as many as in the targets. Larger token numbers are
    treated as the last one, "unknown"."""
    embedding: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector of a token."""
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
    max_length: Annotated[int, Field(ge=1), Unit("steps")] = 100
    """Number of steps to generate where there is no target."""

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


class Seq2Seq(Supervised):
    """Encoder, decoder, attention.

    The symbols are the K classes of the targets, and symbol K: the first input of the decoder, and
    the end symbol.
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
        """Map token sequences to logits of symbols.

        Args:
            x: B samples of int64 tokens.
            targets: B samples of int64 symbols, each with the end symbol; the decoder reads the
                preceding target symbols (teacher forcing). None: it reads its own most probable
                symbols.

        Returns:
            (total steps of the targets, K + 1); without targets (B, max_length, K + 1).
        """
        encoded = self._encode(x)
        if targets is None:
            return self._generate(encoded, self.max_length)
        labels, lengths = pad(*targets)
        previous = functional.pad(labels[:, :-1], (1, 0), value=self.boundary)
        logits, _ = self._decode(previous, encoded, encoded.state)
        return unpad(logits, lengths)

    @torch.no_grad()
    def sequences(self, x: Ragged, beams: int = 1) -> Ragged:
        """Write a sequence for each sample, by beam search.

        Args:
            x: B samples of int64 tokens.
            beams: see :func:`hpc_dl.nn.beam_search.beam_search`.

        Returns:
            B samples of int64 symbols, without the end symbol, of at most ``max_length`` steps.
        """
        encoded = self._encode(x)
        memory, lengths = (part.repeat_interleave(beams, 0) for part in (encoded.memory, encoded.lengths))
        rows = torch.arange(len(encoded.memory), device=memory.device).repeat_interleave(beams)
        shared = _Encoded(memory, lengths, [])  # by all beams of a sample

        def next_logits(symbols: Tensor, state: State) -> tuple[Tensor, State]:
            logits, after = self._decode(symbols, shared, state)
            return logits[:, -1], after

        boundary = torch.full((len(encoded.memory),), self.boundary, device=memory.device)
        state = _selected(encoded.state, rows)
        written, kept, _ = beam_search(next_logits, _selected, state, boundary, beams, self.max_length)
        return Ragged(unpad(written, kept), functional.pad(kept.cumsum(0), (1, 0)))

    def inputs_and_targets(self, batch: Any) -> tuple[Ragged, Ragged]:
        """Return the inputs, and the targets with the end symbol."""
        x, y = super().inputs_and_targets(batch)
        values, lengths = pad(*y)
        values = functional.pad(values, (0, 1)).scatter(1, lengths[:, None], self.boundary)
        offsets = y.offsets + torch.arange(len(y.offsets), device=y.offsets.device)
        return x, Ragged(unpad(values, lengths + 1), offsets)

    def embed(self, x: Ragged) -> Tensor:
        """Represent samples by the encoder's last state, of both directions: (B, width)."""
        steps, lengths = pad(*x)
        last: Tensor = self.encoder(self.dropout(self.tokens(steps)), lengths)[1]
        return last

    def outputs_for(self, x: Ragged, y: Ragged) -> Tensor:
        """Return the logits of the targets' symbols, (total steps, K + 1), with teacher forcing."""
        outputs: Tensor = self(x, y)
        return outputs

    def _evaluate(self, split: str, batch: Any) -> None:
        """Update the loss with teacher forcing, and the metrics with generated symbols."""
        x, y = self.inputs_and_targets(batch)
        task = self.recipe.task
        loss = task.loss(self.outputs_for(x, y), y)
        self.evaluation[f"{split}_loss"].update(loss, weight=task.weight(y))  # type: ignore[operator]
        labels, lengths = pad(*y)
        labels = labels.masked_fill(~mask(lengths, labels.shape[1]), IGNORED)
        predictions = self._generate(self._encode(x), labels.shape[1]).argmax(-1)
        task.update(self.evaluation[split], predictions, labels)  # type: ignore[arg-type]

    def _encode(self, x: Ragged) -> _Encoded:
        steps, lengths = pad(*x)
        memory, _, final = self.encoder(self.dropout(self.tokens(steps)), lengths)
        return _Encoded(memory, lengths, [_joined_directions(state) for state in final])

    def _decode(self, previous: Tensor, encoded: _Encoded, state: State) -> tuple[Tensor, State]:
        """Return the logits (B, T, K + 1) after each of the ``previous`` symbols (B, T).

        The second result is the decoder's final state.
        """
        states, _, state = self.decoder(self.dropout(self.symbols(previous)), None, state)
        if self.attention is not None:
            states = torch.cat([states, self.attention(states, encoded.memory, encoded.lengths)], dim=-1)
        return self.head(self.combine(states)), state

    def _generate(self, encoded: _Encoded, steps: int) -> Tensor:
        """Generate greedily; return logits (B, steps, K + 1), meaningless after the end symbol."""
        symbols = torch.full((len(encoded.memory), 1), self.boundary, device=encoded.memory.device)
        state, generated = encoded.state, []
        for _ in range(steps):
            logits, state = self._decode(symbols, encoded, state)
            generated.append(logits)
            symbols = logits.argmax(-1)
        return torch.cat(generated, dim=1)


class _Encoded(NamedTuple):
    """The encoder's states (B, S, width), lengths (B,), and the decoder's initial state."""

    memory: Tensor
    lengths: Tensor
    state: State


def _selected(state: Any, rows: Tensor) -> Any:
    """Return the states (1, B, units) of some samples, of all layers."""
    if isinstance(state, Tensor):
        return state.index_select(1, rows)
    return type(state)(_selected(part, rows) for part in state)  # a list of layers; a tuple for an LSTM


def _joined_directions(state: Any) -> Any:
    """Concatenate the directions of a layer's last state: (D, B, units) to (1, B, D · units)."""
    if isinstance(state, tuple):  # hidden state and cell state of an LSTM
        return tuple(map(_joined_directions, state))
    return state.transpose(0, 1).flatten(1)[None]
