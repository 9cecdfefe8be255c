"""Random orders that are the same on every machine and with every version of NumPy.

NumPy guarantees the raw stream of a bit generator across versions, but not what
``Generator.permutation`` makes of it. Up to 2^18 numbers are therefore sorted by raw draws of
Philox (Salmon et al., 2011). For more, sorting would delay the start of each epoch, eventually by
seconds; a block cipher on the numbers 0 to N - 1 (Black and Rogaway, 2002) takes its place. It
computes any part of the order without the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LARGEST_SORTED = 1 << 18
_ROUNDS = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth, vol. 3, 6.4)


class Permutation:
    """A random order of ``range(size)``, determined by the seed and the stream."""

    def __init__(self, size: int, seed: int, stream: int, part: tuple[int, int] = (0, 0)) -> None:
        """Select an order; the cost does not depend on the size yet.

        Args:
            size: how many numbers.
            seed: seed of the experiment.
            stream: which order of the seed: the epoch, for example.
            part: which order within the stream.
        """
        self._size = size
        key = np.array([seed % 2**64, stream % 2**64], np.uint64)
        # Philox increments the first word of its counter; the others select independent streams.
        self._bits = np.random.Philox(key=key, counter=np.array([0, 0, *part], np.uint64))
        self._table: NDArray[np.intp] | None = None
        self._keys: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, positions: slice | NDArray[np.integer]) -> NDArray[np.intp]:
        """Return the numbers at these positions of the order, which must be within it."""
        if self._size > _LARGEST_SORTED:
            if isinstance(positions, slice):
                positions = np.arange(*positions.indices(self._size))
            return self._encrypted(positions)
        if self._table is None:
            self._table = _argsort(self._bits.random_raw(self._size))
        return self._table[positions]

    def _encrypted(self, positions: NDArray[np.integer]) -> NDArray[np.intp]:
        """Encrypt each number, again while the result is not below the size ("cycle walking").

        This makes the cipher a permutation of 0 to size - 1.
        """
        numbers = self._rounds(positions.astype(np.uint64))
        outside = np.flatnonzero(numbers >= self._size)
        while len(outside):
            numbers[outside] = self._rounds(numbers[outside])
            outside = outside[numbers[outside] >= self._size]
        return numbers.astype(np.intp)

    def _rounds(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Apply a Feistel network on as many bits as the size has.

        If their number is odd, the halves differ by one bit.
        """
        if self._keys is None:
            self._keys = self._bits.random_raw(_ROUNDS)
        width = (self._size - 1).bit_length()
        right_width = width // 2
        left_width = width - right_width
        left, right = numbers >> np.uint64(right_width), numbers & np.uint64(2**right_width - 1)
        for key in self._keys:
            mixed = (right ^ key) * _MIX
            mixed ^= mixed >> np.uint64(32)
            mixed *= _MIX
            mixed >>= np.uint64(64 - left_width)
            mixed ^= left
            left, right = right, mixed
            left_width, right_width = right_width, left_width
        # After an even number of rounds the halves have their original widths again.
        return (left << np.uint64(right_width)) | right


def permutation(size: int, seed: int, stream: int) -> NDArray[np.intp]:
    """Return a whole order, shape (size,)."""
    return Permutation(size, seed, stream)[:]


def _argsort(draws: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the positions of the draws in ascending order of their upper 48 bits, ties in place.

    NumPy sorts 16-bit numbers by counting, three times as fast as it compares 64-bit numbers.
    """
    digits = draws.astype("<u8", copy=False).view("<u2").reshape(-1, 4)
    order = np.argsort(digits[:, 1], kind="stable")
    for digit in (digits[:, 2], digits[:, 3]):
        order = order[np.argsort(digit[order], kind="stable")]
    return order
