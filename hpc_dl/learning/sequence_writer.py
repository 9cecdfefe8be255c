"""The LightningModule of every architecture that writes a sequence of symbols.

Shapes: B samples, S steps of what the encoder returns, T steps of the targets, K classes of the
targets.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.supervised import Supervised
from hpc_dl.nn.attention import CrossAttention, ScoreName
from hpc_dl.nn.beam_search import beam_search
from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions, State
from hpc_dl.nn.sequences import mask, pad, unpad
from hpc_dl.schema import Section, Unit

CELLS: dict[str, type[nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class WriterOptions(Section):
    """Options of an architecture that writes sequences."""

    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent cell: gated recurrent units (Cho et al., 2014) or long short-term memory
    (Hochreiter and Schmidhuber, 1997)."""
    embedding: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector of a token."""
    max_length: Annotated[int, Field(ge=1), Unit("steps")] = 100
    """Number of steps to generate where there is no target."""


class SequenceWriter(Supervised):
    """An encoder of the subclass, and a recurrent decoder that writes up to the end symbol.

    The symbols are the K classes of the targets, and symbol K: the first input of the decoder, and
    the end symbol. A subclass builds its encoder, then calls :meth:`build_decoder`.
    """

    def __init__(self, recipe: TrainingRecipe, options: WriterOptions) -> None:
        super().__init__(recipe)
        self.options = options
        self.boundary = recipe.data.num_outputs

    def build_decoder(self, recurrent: RecurrentOptions, attention: Literal["none"] | ScoreName = "none") -> None:
        """Build the layers that write.

        Args:
            recurrent: size, layers and dropout of the decoder.
            attention: how it attends to what the encoder returns.
        """
        width = recurrent.hidden
        self.dropout = nn.Dropout(recurrent.dropout)
        self.symbols = nn.Embedding(self.boundary + 1, self.options.embedding)
        self.decoder = RecurrentLayers(CELLS[self.options.cell], self.options.embedding, recurrent)
        self.attention = None if attention == "none" else CrossAttention(attention, width)
        self.combine = (
            nn.Identity() if self.attention is None else nn.Sequential(nn.Linear(2 * width, width), nn.Tanh())
        )
        self.head = nn.Linear(width, self.boundary + 1)

    @abstractmethod
    def encoded(self, x: Any) -> Encoded:
        """Encode a batch of inputs."""

    def forward(self, x: Any, targets: Ragged | None = None) -> Tensor:
        """Map inputs to logits of symbols.

        Args:
            x: B samples, as the encoder reads them.
            targets: B samples of int64 symbols, each with the end symbol; the decoder reads the
                preceding target symbols (teacher forcing). None: it reads its own most probable
                symbols.

        Returns:
            (total steps of the targets, K + 1); without targets (B, max_length, K + 1).
        """
        encoded = self.encoded(x)
        if targets is None:
            return self._generate(encoded, self.options.max_length)
        labels, lengths = pad(*targets)
        previous = functional.pad(labels[:, :-1], (1, 0), value=self.boundary)
        logits, _ = self._decode(previous, encoded, encoded.state)
        return unpad(logits, lengths)

    @torch.no_grad()
    def sequences(self, x: Any, beams: int = 1) -> Ragged:
        """Write a sequence for each sample, by beam search.

        Args:
            x: B samples, as the encoder reads them.
            beams: see :func:`hpc_dl.nn.beam_search.beam_search`.

        Returns:
            B samples of int64 symbols, without the end symbol, of at most ``max_length`` steps.
        """
        encoded = self.encoded(x)
        memory, lengths = (part.repeat_interleave(beams, 0) for part in (encoded.memory, encoded.lengths))
        rows = torch.arange(len(encoded.memory), device=memory.device).repeat_interleave(beams)
        shared = Encoded(memory, lengths, [])  # by all beams of a sample

        def next_logits(symbols: Tensor, state: State) -> tuple[Tensor, State]:
            logits, after = self._decode(symbols, shared, state)
            return logits[:, -1], after

        boundary = torch.full((len(encoded.memory),), self.boundary, device=memory.device)
        state = _selected(encoded.state, rows)
        written, kept, _ = beam_search(next_logits, _selected, state, boundary, beams, self.options.max_length)
        return Ragged(unpad(written, kept), functional.pad(kept.cumsum(0), (1, 0)))

    def inputs_and_targets(self, batch: Any) -> tuple[Any, Ragged]:
        """Return the inputs, and the targets with the end symbol."""
        x, y = super().inputs_and_targets(batch)
        values, lengths = pad(*y)
        values = functional.pad(values, (0, 1)).scatter(1, lengths[:, None], self.boundary)
        offsets = y.offsets + torch.arange(len(y.offsets), device=y.offsets.device)
        return x, Ragged(unpad(values, lengths + 1), offsets)

    def outputs_for(self, x: Any, y: Ragged) -> Tensor:
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
        predictions = self._generate(self.encoded(x), labels.shape[1]).argmax(-1)
        task.update(self.evaluation[split], predictions, labels)  # type: ignore[arg-type]

    def _decode(self, previous: Tensor, encoded: Encoded, state: State) -> tuple[Tensor, State]:
        """Return the logits (B, T, K + 1) after each of the ``previous`` symbols (B, T).

        The second result is the decoder's final state.
        """
        states, _, state = self.decoder(self.dropout(self.symbols(previous)), None, state)
        if self.attention is not None:
            states = torch.cat([states, self.attention(states, encoded.memory, encoded.lengths)], dim=-1)
        return self.head(self.combine(states)), state

    def _generate(self, encoded: Encoded, steps: int) -> Tensor:
        """Generate greedily; return logits (B, steps, K + 1), meaningless after the end symbol."""
        symbols = torch.full((len(encoded.memory), 1), self.boundary, device=encoded.memory.device)
        state, generated = encoded.state, []
        for _ in range(steps):
            logits, state = self._decode(symbols, encoded, state)
            generated.append(logits)
            symbols = logits.argmax(-1)
        return torch.cat(generated, dim=1)


class Encoded(NamedTuple):
    """The encoder's states (B, S, width), lengths (B,), and the decoder's initial state."""

    memory: Tensor
    lengths: Tensor
    state: State


def _selected(state: Any, rows: Tensor) -> Any:
    """Return the states (1, B, units) of some samples, of all layers."""
    if isinstance(state, Tensor):
        return state.index_select(1, rows)
    return type(state)(_selected(part, rows) for part in state)  # a list of layers; a tuple for an LSTM
