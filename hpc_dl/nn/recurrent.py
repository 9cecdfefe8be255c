"""Recurrent layers over padded steps, and the options that all recurrent networks have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hpc_dl.schema import Section, Unit

#: What a layer remembers after a step, as torch's layer of that kind gives it; one for each layer.
State = Sequence[Any]


class RecurrentOptions(Section):
    """What can be chosen for every kind of recurrent network."""

    hidden: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Units of each layer, in each direction."""
    layers: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Recurrent layers, each of which reads the states of the one before."""
    bidirectional: bool = False
    """Read each sample from its end, too (Schuster and Paliwal, 1997); not where the next step is
    to be told."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Share of the states switched off in training on their way up, to the next layer and to the
    outputs, never on their way to the next step (Zaremba et al., 2014)."""
    embedding: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector that stands for a token; without meaning for other inputs."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different tokens, where the data do not tell; larger ones are taken for the last
    one, the unknown."""
    read_out: Literal["last", "mean"] = "last"
    """What a sample is judged by: the state after its ``last`` step, or the ``mean`` of the states
    after all steps. Without meaning where each step is judged."""


class RecurrentLayers(nn.Module):
    """Layers of ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``, one above the other.

    Each is a module of its own: cuDNN's dropout between the layers of a single module draws random
    numbers that no checkpoint holds, and a resumed training would go another way.

    Attributes:
        size: of the states: the units of all directions.
    """

    def __init__(self, cell: Callable[..., nn.RNNBase], num_inputs: int, options: RecurrentOptions) -> None:
        """Make the layers.

        Args:
            cell: makes one layer; called as ``nn.LSTM`` is.
            num_inputs: features of a step.
            options: sizes, directions, dropout.
        """
        super().__init__()
        self.size = options.hidden * (2 if options.bidirectional else 1)
        sizes = [num_inputs] + [self.size] * (options.layers - 1)
        self.layers = nn.ModuleList(
            cell(size, options.hidden, batch_first=True, bidirectional=options.bidirectional) for size in sizes
        )
        self.dropout = nn.Dropout(options.dropout)

    def forward(
        self, steps: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, Tensor, State]:
        """Read all steps.

        Args:
            steps: (B, T, num_inputs).
            lengths: (B,) steps of each sample, what comes after them is not read; None where all
                have T. A sample without steps counts as one of a single step.
            state: to begin with, as returned after the steps before these; None for zeros.

        Returns:
            (B, T, size) states of the last layer after each step, with dropout; (B, size) after the
            last step of each sample, of both directions; and what the layers remember.
        """
        num_steps = steps.shape[1]
        packed_lengths = None if lengths is None else lengths.clamp(min=1).cpu()
        remembered = []
        for number, layer in enumerate(self.layers):
            before = None if state is None else state[number]
            if packed_lengths is None:
                steps, after = layer(steps, before)
            else:
                packed = pack_padded_sequence(steps, packed_lengths, batch_first=True, enforce_sorted=False)
                packed, after = layer(packed, before)
                steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=num_steps)
            remembered.append(after)
            steps = self.dropout(steps)
        last = remembered[-1][0] if isinstance(remembered[-1], tuple) else remembered[-1]
        # (directions, B, units): each direction after the step that it reads last.
        return steps, self.dropout(torch.cat(tuple(last), dim=-1)), remembered


@torch.no_grad()
def set_forget_bias(layer: nn.LSTM, bias: float) -> None:
    """Let the forget gates of an LSTM begin with this bias; torch keeps it in two parts, which are
    added.
    """
    gate = slice(layer.hidden_size, 2 * layer.hidden_size)  # input, forget, cell, output
    for name, parameter in layer.named_parameters():
        if name.startswith("bias_"):
            parameter[gate] = bias if name.startswith("bias_ih") else 0.0
