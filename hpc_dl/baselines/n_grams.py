"""N-grams, the baseline for language modeling."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from hpc_dl.baselines.baseline import Baseline
from hpc_dl.data.datamodule import HDF5DataModule

_LONGEST_CONTEXT = 6
_SAMPLES_PER_READ = 256

# How often each token followed a context (the tokens before it).
_Counts = dict[tuple[int, ...], Counter[int]]


def fit_n_grams(batches: HDF5DataModule) -> Iterator[Baseline]:
    """Predict each token from those before it by the frequencies in the training split.

    Frequencies are smoothed with those of shorter contexts (Witten and Bell, 1991).
    """
    data = batches.spec
    counts: list[_Counts] = [defaultdict(Counter) for _ in range(_LONGEST_CONTEXT)]  # by length of the context
    for tokens in _token_windows(batches, "train"):
        for position in range(1, len(tokens)):
            for length in range(min(_LONGEST_CONTEXT, position + 1)):
                counts[length][tuple(tokens[position - length : position])][tokens[position]] += 1
    for length in range(_LONGEST_CONTEXT):
        metrics = {}
        for split in ("val", "test"):
            if split in data.sizes:
                bits = _bits_per_step(counts[: length + 1], batches, split, data.num_outputs)
                metrics[f"{split}/bits_per_step"] = [bits]
        yield Baseline(f"{length + 1}-gram", metrics)


def _token_windows(batches: HDF5DataModule, split: str) -> Iterator[list[int]]:
    """The windows of a split, each with the token that follows it."""
    size = batches.spec.sizes[split]
    for start in range(0, size, _SAMPLES_PER_READ):
        x, y = batches.read_batch(split, np.arange(start, min(start + _SAMPLES_PER_READ, size)))
        for window, following in zip(np.asarray(x), np.asarray(y), strict=True):
            yield np.append(window, following[-1]).tolist()


def _bits_per_step(counts: list[_Counts], batches: HDF5DataModule, split: str, num_tokens: int) -> float:
    """The mean of -log2 of the probability of each token."""
    total, steps = 0.0, 0
    for tokens in _token_windows(batches, split):
        for position in range(1, len(tokens)):
            probability = 1 / num_tokens
            for length, by_context in enumerate(counts):
                if length > position:
                    break
                followers = by_context.get(tuple(tokens[position - length : position]))
                if followers is None:
                    break
                occurrences, distinct = followers.total(), len(followers)
                probability = (followers[tokens[position]] + distinct * probability) / (occurrences + distinct)
            total -= math.log2(probability)
            steps += 1
    return total / steps
