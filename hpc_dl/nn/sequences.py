"""Steps of samples that may differ in length: padding, and what a network reads of them. B samples,
T steps at most.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def mask(lengths: Tensor, num_steps: int) -> Tensor:
    """Where there are steps: (B,) lengths to (B, num_steps) bool, False for padding."""
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


def pad(values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Put samples that lie one after another beside each other.

    Args:
        values: (total steps, …) of all samples.
        offsets: (B + 1,) where each sample begins, and the end.

    Returns:
        (B, T, …) with zeros after a sample's end, T at least 1; and the (B,) lengths.
    """
    lengths = offsets[1:] - offsets[:-1]
    num_steps = max(1, int(lengths.max()))
    padded = values.new_zeros(len(lengths), num_steps, *values.shape[1:])
    padded[mask(lengths, num_steps)] = values
    return padded, lengths


def unpad(padded: Tensor, lengths: Tensor) -> Tensor:
    """The inverse of :func:`pad`: (B, T, …) to (total steps, …)."""
    return padded[mask(lengths, padded.shape[1])]


def mean_of_steps(states: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean over the steps of each sample: (B, T, F) to (B, F).

    Args:
        states: of each step.
        lengths: (B,) steps of each sample; None where all have T.
    """
    if lengths is None:
        return states.mean(1)
    present = mask(lengths, states.shape[1])[..., None]
    # A sample without steps has the mean 0.
    return states.masked_fill(~present, 0).sum(1) / lengths.clamp(min=1)[:, None]


def last_step(states: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The last step of each sample: (B, T, F) to (B, F); the arguments are those of
    :func:`mean_of_steps`.
    """
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), lengths.clamp(min=1) - 1]


class StepEmbedding(nn.Module):
    """A vector for each step: the embedding of its token, or its features as they are.

    Attributes:
        size: of the vectors.
    """

    def __init__(self, features: int, vocabulary: int | None = None, embedding: int = 0) -> None:
        """Make the embedding, where there are tokens.

        Args:
            features: values of a step, where it is not a token.
            vocabulary: number of different tokens; None for steps of features.
            embedding: size of a token's vector.
        """
        super().__init__()
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, embedding)
        self.size = features if vocabulary is None else embedding

    def forward(self, steps: Tensor) -> Tensor:
        """Map (B, T) int64 tokens, or (B, T, …) features of any type, to (B, T, size).

        Tokens from the vocabulary's end on are taken for its last one, which stands for all that
        are unknown.
        """
        if self.embedding is not None:
            vectors: Tensor = self.embedding(steps.clamp(max=self.embedding.num_embeddings - 1))
            return vectors
        features = steps.reshape(*steps.shape[:2], self.size)
        return features if features.is_floating_point() else features.to(torch.get_default_dtype())
