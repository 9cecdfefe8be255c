"""Random orders that are the same on every machine, with any NumPy, for good.

NumPy keeps the raw stream of a bit generator the same in all versions, but not what
``Generator.permutation`` makes of it. Up to a quarter of a million numbers are therefore sorted by
raw draws of Philox (Salmon et al., 2011). Beyond that, sorting would hold up each epoch's
beginning, for seconds in the end, and a block cipher on the numbers 0 to N - 1 takes its place
(Black and Rogaway, 2002): any stretch of the order can be computed without the rest of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LARGEST_SORTED = 1 << 18
_ROUNDS = 8
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth, vol. 3, 6.4)


class Permutation:
    """A random order of ``range(size)``, fixed by the seed and the numbers of a stream."""

    def __init__(self, size: int, seed: int, stream: int, part: tuple[int, int] = (0, 0)) -> None:
        """Choose the order; nothing that grows with the size is computed yet.

        Args:
            size: how many numbers.
            seed: seed of the experiment.
            stream: which of the seed's orders: the epoch, for example.
            part: which order within the stream.
        """
        self._size = size
        key = np.array([seed % 2**64, stream % 2**64], np.uint64)
        # Philox counts up the first word of its counter; the others give streams that never meet.
        self._bits = np.random.Philox(key=key, counter=np.array([0, 0, *part], np.uint64))
        self._table: NDArray[np.intp] | None = None
        self._keys: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, places: slice | NDArray[np.integer]) -> NDArray[np.intp]:
        """What stands at these places of the order (all of them within it)."""
        if self._size > _LARGEST_SORTED:
            if isinstance(places, slice):
                places = np.arange(*places.indices(self._size))
            return self._encrypted(places)
        if self._table is None:
            self._table = _argsort(self._bits.random_raw(self._size))
        return self._table[places]

    def _encrypted(self, places: NDArray[np.integer]) -> NDArray[np.intp]:
        """Each number encrypted, and again while it is not below the size ("cycle walking"): a
        permutation again.
        """
        found = self._rounds(places.astype(np.uint64))
        outside = np.flatnonzero(found >= self._size)
        while len(outside):
            found[outside] = self._rounds(found[outside])
            outside = outside[found[outside] >= self._size]
        return found.astype(np.intp)

    def _rounds(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """A Feistel network on as many bits as the size has; its halves differ by one bit where
        these are odd.
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
        # After an even number of rounds the widths are back where they were.
        return (left << np.uint64(right_width)) | right


def permutation(size: int, seed: int, stream: int) -> NDArray[np.intp]:
    """The whole of an order, shape (size,)."""
    return Permutation(size, seed, stream)[:]


def _argsort(draws: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Places of the draws in ascending order of their upper 48 bits, equal ones as they come.

    NumPy sorts 16 bits at once by counting, three times as fast as it compares words.
    """
    words = draws.astype("<u8", copy=False).view("<u2").reshape(-1, 4)
    order = np.argsort(words[:, 1], kind="stable")
    for word in (words[:, 2], words[:, 3]):
        order = order[np.argsort(word[order], kind="stable")]
    return order
