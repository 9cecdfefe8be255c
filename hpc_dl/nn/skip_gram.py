"""The skip-gram loss with negative sampling for batches of text (Mikolov et al., 2013).

Shapes: V words in the vocabulary, D numbers per vector, T words in the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 32  # neighboring words that share their noise words; also the size of the matrix products


class Noise(NamedTuple):
    """Negative sampling: the distribution and number of noise words.

    Attributes:
        cumulative: (V,) float64, cumulative probabilities of the words, rising to 1.
        num_words: noise words for each pair of word and context.
    """

    cumulative: Tensor
    num_words: int


def noise_distribution(counts: Tensor) -> Tensor:
    """Return cumulative probabilities in proportion to counts^0.75, (V,) to (V,) float64.

    They are computed on the CPU, so that they do not depend on the device.
    """
    cumulative = counts.cpu().double().pow(0.75).cumsum(0)
    return cumulative / cumulative[-1]


def keep_probability(counts: Tensor, threshold: float) -> Tensor:
    """Return the probability √(t / f) to keep an occurrence of a word of frequency f, (V,) float32.

    Args:
        counts: (V,) occurrences of each word.
        threshold: t; 0 keeps all.
    """
    if threshold == 0:
        return torch.ones(len(counts))
    frequency = counts.cpu().double() / counts.sum().item()
    return (threshold / frequency.clamp(min=1e-30)).sqrt().clamp(max=1).float()


def skip_gram_loss(
    words: Tensor,
    contexts: Tensor,
    tokens: Tensor,
    samples: Tensor,
    window: int,
    noise: Noise,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the skip-gram loss: −log σ(w·c) of each pair and −log σ(−w·n) of its noise words.

    The largest distance of a context is drawn for each word from 1 to ``window``. The expected loss
    is that of the authors; 32 neighboring words share their noise words, so that the loss is
    computed with matrix products.

    Args:
        words: (V, D) vectors of words.
        contexts: (V, D) vectors of words as contexts.
        tokens: (T,) int64 word indices in the order of the text.
        samples: (T,) int64, not negative, the sample of each word; both words of a pair belong to
            the same sample.
        window: largest distance of a pair.
        noise: distribution and number of noise words.
        generator: random number generator; None for torch's global one.

    Returns:
        The mean loss of a pair, and the number of pairs; both 0 if there are none.
    """
    device, blocks = tokens.device, max(1, -(-len(tokens) // _BLOCK))
    padding = blocks * _BLOCK - len(tokens)
    center = functional.pad(tokens, (0, padding)).view(blocks, _BLOCK)
    center_sample = functional.pad(samples, (0, padding), value=-1).view(blocks, _BLOCK, 1)
    around = functional.pad(tokens, (window, window + padding)).unfold(0, _BLOCK + 2 * window, _BLOCK)
    context_sample = functional.pad(samples, (window, window + padding), value=-2).unfold(
        0, _BLOCK + 2 * window, _BLOCK
    )
    offsets = torch.arange(_BLOCK + 2 * window, device=device) - window
    distance = (offsets - torch.arange(_BLOCK, device=device).unsqueeze(1)).abs()
    reach = torch.randint(1, window + 1, (blocks, _BLOCK, 1), generator=generator, device=device)
    is_pair = (distance > 0) & (distance <= reach) & (center_sample == context_sample.unsqueeze(1))
    drawn = torch.rand(blocks, _BLOCK, generator=generator, device=device, dtype=torch.float64)
    noise_words = torch.searchsorted(noise.cumulative, drawn).clamp(max=len(words) - 1)

    # One lookup for contexts and noise words: each lookup has a gradient as large as the table.
    vectors = functional.embedding(torch.cat([around, noise_words], 1), contexts)
    logits = functional.embedding(center, words) @ vectors.transpose(1, 2)
    context_logits, noise_logits = torch.split(logits, [around.shape[1], _BLOCK], dim=2)
    pairs_per_word = is_pair.sum(2, dtype=torch.float32)
    pairs = pairs_per_word.sum()
    total = (functional.softplus(-context_logits) * is_pair).sum()
    # A word with m pairs has m · num_words noise words: here m · num_words times the block's mean.
    total = total + (functional.softplus(noise_logits).mean(2) * pairs_per_word).sum() * noise.num_words
    return total / pairs.clamp(min=1), pairs
