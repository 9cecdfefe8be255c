"""What can be done with a trained model, besides evaluating it.

A module states its abilities in ``abilities``: names of this file. Each ability stands for methods,
and for the commands that call them.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from hpc_dl.data.ragged import Ragged

Ability = Literal["predict", "embed", "generate text", "generate samples", "compare words"]

#: The commands that need an ability.
COMMANDS: dict[Ability, tuple[str, ...]] = {
    "predict": ("predict",),
    "embed": ("embed",),
    "generate text": ("generate",),
    "generate samples": ("generate",),
    "compare words": ("similar", "analogy"),
}


@runtime_checkable
class WritesSequences(Protocol):
    """A module with the ability ``predict`` whose predictions are sequences of classes."""

    def sequences(self, x: Any, beams: int = 1) -> Ragged:
        """Write a sequence for each sample, the best of a beam search."""


class EmbedsSamples(Protocol):
    """A module with the ability ``embed``."""

    def embed(self, x: Any) -> Tensor:
        """Represent each sample (or step, or node) by a vector: a batch of inputs to (B, F, …)."""


class GeneratesText(Protocol):
    """A module with the ability ``generate text``."""

    def generate(
        self, start: Tensor, steps: int, temperature: float = 1.0, seed: int = 0, top_k: int | None = None
    ) -> Tensor:
        """Continue texts: (B, T) int64 tokens to (B, steps) further ones."""


class GeneratesSamples(Protocol):
    """A module with the ability ``generate samples``."""

    def sample(self, num_samples: int, seed: int = 0) -> Tensor:
        """Generate samples in the units of the data, (num_samples, *input_shape)."""

    def noise(self, num_samples: int, seed: int = 0) -> Tensor:
        """Draw the random numbers that samples are decoded from, (num_samples, latent)."""

    def decode(self, z: Tensor) -> Tensor:
        """Map random numbers (B, latent) to samples in the units of the data."""


class ComparesWords(Protocol):
    """A module with the ability ``compare words``; words come with the cosines of their vectors."""

    def nearest(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """Return the words whose vectors are most similar, the nearest first."""

    def vectors(self) -> Tensor:
        """Return the vectors of all words, (V, D)."""

    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[tuple[str, float]]:
        """Return the answers d to "a is to b as c is to d", the nearest first."""
