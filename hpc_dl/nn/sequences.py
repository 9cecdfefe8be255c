"""Padding of samples of different lengths, and summaries of their steps.

Shapes: B samples, at most T steps, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Return where the steps are: (B,) lengths to (B, num_steps) bool, False for padding."""
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


def pad(values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Pad samples that are stored one after another.

    Args:
        values: (total steps, …) of all samples.
        offsets: (B + 1,) index of the first step of each sample, and the total.

    Returns:
        (B, T, …), padded with zeros, with T at least 1; and the lengths (B,).
    """
    lengths = offsets[1:] - offsets[:-1]
    num_steps = max(1, int(lengths.max()))
    padded = values.new_zeros(len(lengths), num_steps, *values.shape[1:])
    padded[mask(lengths, num_steps)] = values
    return padded, lengths


def unpad(padded: Tensor, lengths: Tensor) -> Tensor:
    """Invert :func:`pad`: (B, T, …) to (total steps, …)."""
    return padded[mask(lengths, padded.shape[1])]


def mean_of_steps(states: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Average the steps of each sample: (B, T, F) to (B, F).

    Args:
        states: (B, T, F).
        lengths: (B,) number of steps of each sample; None where all samples have T steps.
    """
    if lengths is None:
        return states.mean(1)
    present = mask(lengths, states.shape[1])[..., None]
    # A sample without steps has the mean 0.
    return states.masked_fill(~present, 0).sum(1) / lengths.clamp(min=1)[:, None]


def last_step(states: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Select the last step of each sample, (B, T, F) to (B, F); see :func:`mean_of_steps`."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), lengths.clamp(min=1) - 1]


class StepEmbedding(nn.Module):
    """A vector for each step: the embedding of its token, or its features unchanged.

    Attributes:
        size: size of the vectors.
    """

    def __init__(self, features: int, vocabulary: int | None = None, embedding: int = 0) -> None:
        """Build the embedding, for tokens.

        Args:
            features: features of a step, where it is not a token.
            vocabulary: number of different tokens; None for steps of features.
            embedding: size of the vector of a token.
        """
        super().__init__()
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, embedding)
        self.size = features if vocabulary is None else embedding

    def forward(self, steps: Tensor) -> Tensor:
        """Map (B, T) int64 tokens, or (B, T, …) features of any type, to (B, T, size).

        Tokens beyond the vocabulary are mapped to its last one, which represents all unknown
        tokens.
        """
        if self.embedding is not None:
            vectors: Tensor = self.embedding(steps.clamp(max=self.embedding.num_embeddings - 1))
            return vectors
        features = steps.reshape(*steps.shape[:2], self.size)
        return features if features.is_floating_point() else features.to(torch.get_default_dtype())
