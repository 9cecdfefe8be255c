"""Attention, positional encoding and the encoder of a Transformer (Vaswani et al., 2017).

Shapes: B samples, T steps, W numbers per step (the width).

The encoder blocks are defined here because torch's ``TransformerEncoderLayer`` keeps the weights of
its attention in a bare parameter, which ``model.init`` does not initialize.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.errors import ConfigError
from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.sequences import mask
from hpc_dl.schema import Section, Unit

PositionsName = Literal["sinusoidal", "learned", "none"]
ScoreName = Literal["dot", "additive"]


def sinusoidal_encoding(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return sines and cosines of the positions, (length, width) (Vaswani et al., 2017).

    The wavelengths go from 2π to 20,000π.
    """
    frequencies = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class EncoderOptions(Section):
    """Options of a Transformer encoder."""

    width: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Size of the vector of a step; a multiple of ``heads``."""
    depth: Annotated[int, Field(ge=1), Unit("blocks")] = 2
    """Number of blocks; each is self-attention followed by a dense network."""
    heads: Annotated[int, Field(ge=1), Unit("heads")] = 4
    """Attention heads per block; each uses its share of the width."""
    hidden: Annotated[int | None, Field(ge=1), Unit("units")] = None
    """Hidden units of the dense network in each block; null means four times the width."""
    activation: ActivationSetting = "gelu"
    """Activation of the dense networks."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.1
    """Dropout probability, applied to the vectors of the steps and to the outputs of each attention
    and each dense network."""
    read_out: Literal["mean", "class_token"] = "mean"
    """What the output of a sample is computed from: the ``mean`` of its steps, or a ``class_token``
    that is added before them (Devlin et al., 2019). No effect where each step has a target."""

    @model_validator(mode="after")
    def _equal_heads(self) -> EncoderOptions:
        if self.width % self.heads:
            raise ValueError(f"`width` must be a multiple of `heads`: {self.width} is not a multiple of {self.heads}")
        return self


class PositionalEncoding(nn.Module):
    """Adds the encoding of its position to each step."""

    def __init__(self, kind: PositionsName, width: int, max_length: int = 0) -> None:
        """Initialize learned positions with small random vectors.

        Args:
            kind: ``sinusoidal``, ``learned`` or ``none``.
            width: W.
            max_length: number of steps of the longest sequence, for ``learned``.
        """
        super().__init__()
        self.kind = kind
        if kind == "learned":
            self.vectors = nn.Parameter(torch.empty(max_length, width))
            nn.init.trunc_normal_(self.vectors, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, W) to (B, T, W).

        Raises:
            ConfigError: there are more steps than learned positions.
        """
        if self.kind == "none":
            return x
        length, width = x.shape[1], x.shape[2]
        if self.kind == "sinusoidal":
            return x + sinusoidal_encoding(length, width, x.device).to(x.dtype)
        if length > len(self.vectors):
            raise ConfigError.at(
                "model.max_length",
                f"is too small: a sample has {length} steps",
                value=len(self.vectors),
                remedy=f"set it to {length} or more, or `model.positions: sinusoidal`",
            )
        return x + self.vectors[:length]


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention of each step to all steps, or to the earlier ones."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, present: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map (B, T, W) to (B, T, W).

        Args:
            x: (B, T, W).
            present: (B, T) bool, False for padding; None without padding.
            causal: whether each step attends only to itself and to earlier steps.
        """
        q, k, v = self._queries_keys_values_by_head(x)
        allowed = None if present is None else present[:, None, None, :]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=causal)
        outputs: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return outputs

    def weights(self, x: Tensor, present: Tensor | None = None, causal: bool = False) -> Tensor:
        """Return the weights of each step on all steps, (B, heads, T, T); the rows add up to 1.

        The arguments are those of :meth:`forward`, whose fused operation does not return them.
        """
        q, k, _ = self._queries_keys_values_by_head(x)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if present is not None:
            scores = scores.masked_fill(~present[:, None, None, :], -math.inf)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
        return scores.softmax(-1)

    def _queries_keys_values_by_head(self, x: Tensor) -> list[Tensor]:
        """Return three tensors (B, heads, T, W / heads)."""
        parts = self.queries_keys_values(x).chunk(3, -1)
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]


class EncoderBlock(nn.Module):
    """Self-attention, then a dense network on each step, each with normalization and residual.

    With the normalization first (pre-norm), training needs no carefully tuned warm-up (Xiong et
    al., 2020).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, setting: ActivationSetting) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(
            nn.Linear(width, hidden * pieces(setting)), activation(setting, hidden, axis=-1), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map (B, T, W) to (B, T, W); the arguments are those of :class:`SelfAttention`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), present, causal))
        update: Tensor = self.dropout(self.dense(self.dense_norm(x)))
        return x + update


class Encoder(nn.Module):
    """A Transformer encoder: blocks of self-attention, and a final normalization."""

    def __init__(self, options: EncoderOptions) -> None:
        super().__init__()
        width, hidden = options.width, options.hidden or 4 * options.width
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, options.heads, hidden, options.dropout, options.activation)
            for _ in range(options.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, lengths: Tensor | None = None, causal: bool = False) -> Tensor:
        """Encode the steps of each sample.

        Args:
            x: (B, T, W).
            lengths: (B,) number of steps of each sample, the steps after them are ignored; None
                where all samples have T steps. A sample without steps is treated as one with a
                single step.
            causal: whether each step attends only to itself and to earlier steps.

        Returns:
            (B, T, W).
        """
        # Padding comes last, so that causal attention ignores it without a mask, which is faster.
        present = None if lengths is None or causal else mask(lengths.clamp(min=1), x.shape[1])
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, present, causal)
        normalized: Tensor = self.norm(x)
        return normalized


class CrossAttention(nn.Module):
    """Attention of a decoder's states to the states of an encoder.

    The score of a pair of states is ``dot``, their product (Luong et al., 2015), or ``additive``,
    the output of a small network (Bahdanau et al., 2015).
    """

    def __init__(self, score: ScoreName, width: int) -> None:
        super().__init__()
        self.additive = score == "additive"
        if self.additive:
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width)
            self.score = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Return means of the memory, weighted by the softmax of the scores.

        Args:
            states: (B, T, W) of the decoder.
            memory: (B, S, W) of the encoder.
            lengths: (B,) number of steps of each memory, as for :class:`Encoder`.

        Returns:
            (B, T, W).
        """
        attended: Tensor = self.weights(states, memory, lengths) @ memory
        return attended

    def weights(self, states: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Return the weights of the memory, (B, T, S), for the arguments of :meth:`forward`."""
        if self.additive:
            scores = self.score(torch.tanh(self.query(states)[:, :, None] + self.key(memory)[:, None])).squeeze(-1)
        else:
            scores = states @ memory.mT
        padding = ~mask(lengths.clamp(min=1), memory.shape[1])
        weights: Tensor = scores.masked_fill(padding[:, None], -math.inf).softmax(dim=-1)
        return weights
