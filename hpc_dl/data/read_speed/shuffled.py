"""Measuring the speed of shuffled reading, as in training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Upper bound of a window of samples that are read together and shuffled.
WINDOW_BYTES = 16 << 20

Take = Callable[[NDArray[np.intp]], NDArray[Any]]


@dataclass(frozen=True)
class Speed:
    """Samples, and bytes of decoded samples, read per second."""

    samples_per_s: float
    bytes_per_s: float


def shuffled_speed(
    take: Take,
    num_samples: int,
    together: int = 1,
    batch_size: int = 128,
    seconds: float = 1.0,
    prefetch: Callable[[NDArray[np.intp]], None] | None = None,
) -> Speed:
    """Measure shuffled reading.

    Args:
        take: returns the requested rows.
        num_samples: number of rows.
        together: number of rows that are decoded, or prefetched, together. If 1, single batches are
            read; otherwise blocks of this many rows in random order, in windows of up to 16 MiB
            whose rows are shuffled.
        batch_size: samples per batch.
        seconds: approximate duration; at least one window is read.
        prefetch: called with the rows of the next window before those of the current one are read.
            With it, no row is read twice, because the second time it would come from memory.
    """
    samples = num_bytes = 0
    windows = _Windows(num_samples, together, batch_size, repeat=prefetch is None)
    rows = windows.next()
    start = time.perf_counter()
    while True:
        next_rows = windows.next()
        if prefetch is not None:
            prefetch(next_rows)
        values = take(rows)
        samples += len(rows)
        num_bytes += values.nbytes
        elapsed = time.perf_counter() - start
        if elapsed > seconds or not len(next_rows):
            return Speed(samples / elapsed, num_bytes / elapsed)
        # Start with small windows, so that slow reading also ends in time.
        if values.nbytes < WINDOW_BYTES // 2:
            windows.num_blocks *= 2
        rows = next_rows


class _Windows:
    """The rows to read at a time: a random batch, or the shuffled rows of random blocks."""

    def __init__(self, num_samples: int, together: int, batch_size: int, repeat: bool) -> None:
        self.num_blocks = 1  #: per window
        self._num_samples, self._together, self._batch_size, self._repeat = num_samples, together, batch_size, repeat
        self._random = np.random.default_rng(0)
        self._order = self._random.permutation(-(-num_samples // together)) if together > 1 else np.empty(0, np.intp)
        self._next = 0

    def next(self) -> NDArray[np.intp]:
        """Return the rows of the next window; none when all were read and must not be repeated."""
        if self._together == 1:
            return self._random.integers(0, self._num_samples, min(self._batch_size, self._num_samples))
        if self._next >= len(self._order) and self._repeat:
            self._next = 0
        blocks = self._order[self._next : self._next + self.num_blocks]
        self._next += self.num_blocks
        rows = (blocks[:, None] * self._together + np.arange(self._together)).reshape(-1)
        return self._random.permutation(rows[rows < self._num_samples])
