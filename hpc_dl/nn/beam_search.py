"""Beam search: the most probable sequence that a decoder writes, symbol by symbol."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def beam_search(
    next_logits: Callable[[Tensor, Any], tuple[Tensor, Any]],
    select: Callable[[Any, Tensor], Any],
    state: Any,
    boundary: Tensor,
    beams: int,
    max_steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find sequences of high probability by a search from left to right (Sutskever et al., 2014).

    At each step the ``beams`` most probable beginnings of a sequence are kept; 1 selects the most
    probable symbol each time. The score is the sum of the symbols' log-probabilities, without a
    correction for the length.

    Args:
        next_logits: returns the logits (N, K) of the next symbol and the decoder's new state, for
            the last symbols (N, 1) and the state after the symbols before them; N is B · ``beams``,
            all beams of a sample one after another.
        select: returns the state of some rows (N,) of a state.
        state: the initial state of the N rows.
        boundary: (B,) int64, first input of the decoder, and the symbol that ends a sequence.
        beams: number of beginnings to keep.
        max_steps: length at which sequences without an end are cut off.

    Returns:
        The best sequence of each sample, (B, T) with T of at most ``max_steps``; its length without
        the end symbol, (B,): what follows is padding; and its log-probability, (B,).
    """
    size, end = len(boundary), boundary[:, None]
    first_rows = torch.arange(0, size * beams, beams, device=boundary.device)[:, None]
    scores = torch.full((size, beams), -math.inf, device=boundary.device)
    scores[:, 0] = 0.0  # all beams are equal at the beginning, of which only one counts
    written = boundary.new_empty(size, beams, 0)
    ended = torch.zeros(size, beams, dtype=torch.bool, device=boundary.device)
    symbols = end.expand(size, beams)
    for _ in range(max_steps):
        logits, state = next_logits(symbols.reshape(-1, 1), state)
        steps = logits.float().log_softmax(-1).view(size, beams, -1)
        # A sequence that has ended is followed by further end symbols, with certainty.
        certain = torch.full_like(steps, -math.inf).scatter(2, end[:, None].expand(size, beams, 1), 0.0)
        steps = torch.where(ended[..., None], certain, steps)
        scores, chosen = (scores[..., None] + steps).flatten(1).topk(beams, dim=1)
        origin, symbols = chosen // steps.shape[2], chosen % steps.shape[2]
        state = select(state, (first_rows + origin).flatten())
        before = written.gather(1, origin[..., None].expand(-1, -1, written.shape[2]))
        written = torch.cat([before, symbols[..., None]], dim=2)
        ended = ended.gather(1, origin) | (symbols == end)
        if ended[:, 0].all():  # the others can only become less probable than these
            break
    best = written[:, 0]
    return best, (best != end).cumprod(1).sum(1), scores[:, 0]
