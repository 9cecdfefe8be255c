"""The learning-rate range test (Smith, Cyclical learning rates, 2017); free of torch.

A short training raises the rate exponentially at each step, from a rate at which nothing changes to
one at which the training diverges. A good rate lies where the loss falls fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WINDOW = 0.05  # of the steps, over which the loss is averaged
_MARGIN = 10  # by which the suggested rate stays below that of the lowest loss (Howard and Gugger, 2020)
_LEAST_FALL = 0.01  # of the loss at the start
_FEWEST = 10  # losses


def rate_at(step: int, num_steps: int, first: float, last: float) -> float:
    """The learning rate of a step, counted from 0: from ``first`` to ``last``."""
    return float(first * (last / first) ** (step / max(1, num_steps - 1)))


def smoothed(losses: Sequence[float] | NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean of each loss and its neighbors, (N,); fewer of them at both ends."""
    values = np.asarray(losses, float)
    reach = max(1, round(_WINDOW * len(values) / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = np.maximum(0, np.arange(len(values)) - reach)
    ends = np.minimum(len(values), np.arange(len(values)) + reach + 1)
    means: NDArray[np.floating] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def suggest(rates: Sequence[float], losses: Sequence[float]) -> dict[str, float | None]:
    """Find where the loss falls.

    Args:
        rates: of each step, ascending.
        losses: the finite training losses at these rates.

    Returns:
        ``lowest``: the rate of the lowest smoothed loss; ``steepest``: the rate at which it falls
        fastest; ``suggested``: the lower one of ``steepest`` and a tenth of ``lowest``. All None if
        the loss does not fall by more than its scatter.
    """
    nothing: dict[str, float | None] = {"suggested": None, "steepest": None, "lowest": None}
    if len(losses) < _FEWEST:
        return nothing
    smooth = smoothed(losses)
    lowest = int(np.argmin(smooth))
    start = float(np.median(smooth[: max(1, lowest // 4)]))  # at the first rates nothing changes
    scatter = float(np.median(np.abs(np.diff(np.asarray(losses, float))))) / math.sqrt(_WINDOW * len(losses) + 1)
    if lowest < 2 or start - smooth[lowest] <= max(3 * scatter, _LEAST_FALL * abs(start)):
        return nothing
    slopes = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1]))
    steepest = rates[int(np.argmin(slopes))]
    return {"suggested": min(steepest, rates[lowest] / _MARGIN), "steepest": steepest, "lowest": rates[lowest]}
