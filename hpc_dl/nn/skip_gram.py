"""Skip-gram with negative sampling on whole batches of text (Mikolov et al., 2013)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 32  # words that meet the same noise words; also the size of the matrix products


class Noise(NamedTuple):
    """How often words are drawn that do not belong together.

    Attributes:
        cumulative: (V,) float64, rising to 1: sums of the words' probabilities.
        num_words: drawn for each pair that belongs together.
    """

    cumulative: Tensor
    num_words: int


def noise_distribution(counts: Tensor) -> Tensor:
    """Cumulative probabilities in proportion to counts^0.75, (V,) → (V,) float64; on the CPU, so
    always the same.
    """
    cumulative = counts.cpu().double().pow(0.75).cumsum(0)
    return cumulative / cumulative[-1]


def keep_probability(counts: Tensor, threshold: float) -> Tensor:
    """Probability √(t / f) with which an occurrence of a word of frequency f is kept, (V,) → (V,)
    float32; t = 0: 1.
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
    """−log σ(w·c) for each word and each context near it, and −log σ(−w·n) for noise words in place
    of the context.

    How far a word looks is drawn for each from 1 to ``window``. The expected loss is that of the
    authors; noise words are shared by 32 neighboring words, so that all is computed in products of
    matrices.

    Args:
        words: (V, D) vectors of words.
        contexts: (V, D) vectors of words as contexts.
        tokens: (T,) int64 numbers of words in the order of the text.
        samples: (T,) int64, not negative: pairs are formed of words of the same sample only.
        window: largest distance of a pair.
        noise: what is drawn.
        generator: of the random numbers; torch's own when None.

    Returns:
        The mean loss of a pair, and the number of pairs; 0 and 0 where there are none.
    """
    device, blocks = tokens.device, max(1, -(-len(tokens) // _BLOCK))
    fill = blocks * _BLOCK - len(tokens)
    center = functional.pad(tokens, (0, fill)).view(blocks, _BLOCK)
    own = functional.pad(samples, (0, fill), value=-1).view(blocks, _BLOCK, 1)
    around = functional.pad(tokens, (window, window + fill)).unfold(0, _BLOCK + 2 * window, _BLOCK)
    theirs = functional.pad(samples, (window, window + fill), value=-2).unfold(0, _BLOCK + 2 * window, _BLOCK)
    places = torch.arange(_BLOCK + 2 * window, device=device) - window
    distance = (places - torch.arange(_BLOCK, device=device).unsqueeze(1)).abs()
    reach = torch.randint(1, window + 1, (blocks, _BLOCK, 1), generator=generator, device=device)
    is_pair = (distance > 0) & (distance <= reach) & (own == theirs.unsqueeze(1))
    drawn = torch.rand(blocks, _BLOCK, generator=generator, device=device, dtype=torch.float64)
    strangers = torch.searchsorted(noise.cumulative, drawn).clamp(max=len(words) - 1)

    # Both kinds of contexts at once: the gradient of a table is as large as the table, and costs as
    # much each time.
    others = functional.embedding(torch.cat([around, strangers], 1), contexts)
    products = functional.embedding(center, words) @ others.transpose(1, 2)
    likeness, strangeness = torch.split(products, [around.shape[1], _BLOCK], dim=2)
    pairs_of_word = is_pair.sum(2, dtype=torch.float32)
    pairs = pairs_of_word.sum()
    found = (functional.softplus(-likeness) * is_pair).sum()
    # A word with m pairs would meet m · num_words strangers of its own.
    found = found + (functional.softplus(strangeness).mean(2) * pairs_of_word).sum() * noise.num_words
    return found / pairs.clamp(min=1), pairs
