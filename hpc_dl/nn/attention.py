"""Attention, positions, and the encoder of a Transformer (Vaswani et al., 2017). B samples, T
steps, W numbers a step.

The encoder's blocks are this project's own rather than torch's ``TransformerEncoderLayer``: that
one keeps the weights of its attention in a parameter that is no layer, where ``model.init`` does
not see them.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.errors import ConfigError
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.sequences import mask
from hpc_dl.schema import Section, Unit

PositionsName = Literal["sinusoidal", "learned", "none"]
ScoreName = Literal["dot", "additive"]


def sinusoidal_encoding(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """(length, width): sines and cosines of the position, of wavelengths from 2π to 20,000π
    (Vaswani et al., 2017).
    """
    frequencies = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class EncoderOptions(Section):
    """The size of a Transformer's encoder."""

    width: Annotated[int, Field(ge=1), Unit("numbers")] = 64
    """Numbers that stand for a step, a multiple of ``heads``."""
    depth: Annotated[int, Field(ge=1), Unit("blocks")] = 2
    """Blocks of attention and dense layers."""
    heads: Annotated[int, Field(ge=1), Unit("heads")] = 4
    """Heads of each attention: each looks for something of its own, in its share of the width."""
    hidden: Annotated[int | None, Field(ge=1), Unit("units")] = None
    """Units of each block's dense layer; null takes four times the width."""
    activation: ActivationName = "gelu"
    """Activation of the dense layers."""
    dropout: Annotated[float, Field(ge=0, lt=1), Unit("probability")] = 0.1
    """Share of each step's numbers, and of what each half of a block adds, that is switched off in
    training."""
    read_out: Literal["mean", "class_token"] = "mean"
    """What a sample is judged by: the ``mean`` of its steps, or a step of its own before them
    (Devlin et al., 2019). Without meaning where each step is judged."""

    @model_validator(mode="after")
    def _equal_heads(self) -> EncoderOptions:
        if self.width % self.heads:
            raise ValueError(
                f"`heads` must divide `width`: {self.width} numbers cannot be shared by {self.heads} heads"
            )
        return self


class PositionalEncoding(nn.Module):
    """Adds to each step what tells its position."""

    def __init__(self, kind: PositionsName, width: int, max_length: int = 0) -> None:
        """Begin with small random vectors where they are learned.

        Args:
            kind: ``sinusoidal``, ``learned`` or ``none``.
            width: numbers of a step.
            max_length: steps of the longest sequence, for ``learned``.
        """
        super().__init__()
        self.kind = kind
        if kind == "learned":
            self.vectors = nn.Parameter(torch.empty(max_length, width))
            nn.init.trunc_normal_(self.vectors, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, W) to the same.

        Raises:
            ConfigError: more steps than positions were learned.
        """
        if self.kind == "none":
            return x
        length, width = x.shape[1], x.shape[2]
        if self.kind == "sinusoidal":
            return x + sinusoidal_encoding(length, width, x.device).to(x.dtype)
        if length > len(self.vectors):
            raise ConfigError.at(
                "model.max_length",
                f"a sample has {length} steps, and positions are learned for fewer",
                value=len(self.vectors),
                remedy=f"set it to {length} or more, or `model.positions: sinusoidal`",
            )
        return x + self.vectors[:length]


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads, of each step to all, or to itself and earlier
    ones only.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, present: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map (B, T, W) to the same; ``present`` (B, T) is false for what is not looked at."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.queries_keys_values(x).chunk(3, -1)
        )
        seen = None if present is None else present[:, None, None, :]
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)
        outputs: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return outputs


class EncoderBlock(nn.Module):
    """Self-attention, then two dense layers for each step, each normalized before and added to what
    came in.

    Normalized before rather than after, it learns without a warm-up that has to be tuned (Xiong et
    al., 2020).
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, activation_name: ActivationName) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, hidden), activation(activation_name), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map (B, T, W) to the same; the arguments are those of :class:`SelfAttention`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), present, causal))
        added: Tensor = self.dropout(self.dense(self.dense_norm(x)))
        return x + added


class Encoder(nn.Module):
    """Blocks of attention and dense layers, and a last normalization."""

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
        """Map the steps of each sample to as many.

        Args:
            x: (B, T, W).
            lengths: (B,) steps of each sample, what comes after them is not looked at; None where
                all have T. A sample without steps counts as one of a single step.
            causal: whether a step sees itself and earlier ones only.

        Returns:
            (B, T, W).
        """
        # Padding comes last: where no step sees later ones, it is not seen without a mask, and
        # faster.
        present = None if lengths is None or causal else mask(lengths.clamp(min=1), x.shape[1])
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, present, causal)
        normalized: Tensor = self.norm(x)
        return normalized


class Attention(nn.Module):
    """What a decoder's states look up in the states of an encoder.

    The score of a pair is ``dot``, their product (Luong et al., 2015), or ``additive``, a small
    network of both (Bahdanau et al., 2015).
    """

    def __init__(self, score: ScoreName, width: int) -> None:
        super().__init__()
        self.additive = score == "additive"
        if self.additive:
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width)
            self.score = nn.Linear(width, 1, bias=False)

    def forward(self, states: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Means of the memory, weighted by the softmax of the scores.

        Args:
            states: (B, T, W) of the decoder.
            memory: (B, S, W) of the encoder.
            lengths: (B,) steps of each memory, as for :class:`Encoder`.

        Returns:
            (B, T, W).
        """
        if self.additive:
            scores = self.score(torch.tanh(self.query(states)[:, :, None] + self.key(memory)[:, None])).squeeze(-1)
        else:
            scores = states @ memory.mT
        absent = ~mask(lengths.clamp(min=1), memory.shape[1])
        found: Tensor = scores.masked_fill(absent[:, None], -math.inf).softmax(dim=-1) @ memory
        return found
