"""Drawing tokens from the logits of a language model."""

from __future__ import annotations

import torch
from torch import Tensor


def draw_tokens(
    logits: Tensor, generator: torch.Generator, temperature: float = 1.0, top_k: int | None = None
) -> Tensor:
    """Draw one token for each sample.

    Args:
        logits: (B, K).
        generator: of random numbers, on the device of the logits.
        temperature: divisor of the logits (Ackley et al., 1985); below 1 favors probable tokens, 0
            always selects the most probable one.
        top_k: draw from this number of most probable tokens only (Fan et al., 2018); None for all.

    Returns:
        (B, 1) int64.
    """
    if temperature == 0:
        return logits.argmax(1, keepdim=True)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[1]:
        kept = logits.topk(top_k, dim=1)
        choice = torch.multinomial(kept.values.softmax(1), 1, generator=generator)
        return kept.indices.gather(1, choice)
    return torch.multinomial(logits.softmax(1), 1, generator=generator)
