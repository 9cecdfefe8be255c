"""Recurrent layers for padded sequences, and their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hpc_dl.schema import Section, Unit

#: The hidden states after a step, one for each layer, as torch's recurrent layers return them.
State = Sequence[Any]


class RecurrentOptions(Section):
    """Options of recurrent networks."""

    hidden: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Hidden units of each layer, in each direction."""
    layers: Annotated[int, Field(ge=1), Unit("layers")] = 1
    """Number of stacked recurrent layers."""
    bidirectional: bool = False
    """Also read each sample from its end (Schuster and Paliwal, 1997); not possible where the next
    step is predicted."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.0
    """Dropout probability of the states passed to the next layer and to the outputs, not of those
    passed to the next step (Zaremba et al., 2014)."""

    embedding: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector of a token; no effect for other inputs."""
    vocabulary: Annotated[int | None, Field(ge=1), Unit("tokens")] = None
    """Number of different tokens, where the data do not define it; larger token numbers are treated
    as the last one, "unknown"."""
    read_out: Literal["last", "mean"] = "last"
    """What the output of a sample is computed from: the state after its ``last`` step, or the
    ``mean`` of the states after all steps. No effect where each step has a target."""

    @property
    def fixed_size(self) -> str:
        """Empty: the same weights read any number of steps."""
        return ""


class RecurrentLayers(nn.Module):
    """Stacked layers of ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU``.

    Each layer is a separate module: the dropout that cuDNN applies between the layers of one module
    uses random numbers that no checkpoint contains, so that a resumed training would differ.

    Attributes:
        size: size of the states, that is, the units of all directions.
    """

    def __init__(self, cell: Callable[..., nn.RNNBase], num_inputs: int, options: RecurrentOptions) -> None:
        """Build the layers.

        Args:
            cell: builds one layer; called like ``nn.LSTM``.
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
            lengths: (B,) number of steps of each sample, the steps after them are ignored; None
                where all samples have T steps. A sample without steps is treated as one with a
                single step.
            state: initial hidden states, as returned for the preceding steps; None for zeros.

        Returns:
            The states of the last layer after each step, with dropout, (B, T, size); the state
            after the last step of each sample, of both directions, (B, size); and the final hidden
            states of all layers.
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
    """Set the initial bias of the forget gates; torch stores it as the sum of two parameters."""
    gate = slice(layer.hidden_size, 2 * layer.hidden_size)  # input, forget, cell, output
    for name, parameter in layer.named_parameters():
        if name.startswith("bias_"):
            parameter[gate] = bias if name.startswith("bias_ih") else 0.0
