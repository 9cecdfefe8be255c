"""Which sample of a source goes to which split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.splits import stratified
from hpc_dl.data.packing.source import Source
from hpc_dl.data.spec import SPLITS
from hpc_dl.errors import DataError


class Deal:
    """Deals the samples of a source, in its order, to the splits; each split keeps that order.

    Args:
        source: the samples.
        fractions: shares by split, 1 altogether; None to take the source's own splits.
        seed: seed of the random split.

    Raises:
        DataError: the source is divided already, or a split would be empty.
    """

    def __init__(self, source: Source, fractions: Mapping[str, float] | None, seed: int) -> None:
        self.sizes = dict(source.sizes)
        # One byte for each sample: the number of its split.
        if fractions is None:
            self._split_of = np.repeat(np.arange(len(self.sizes), dtype=np.int8), list(self.sizes.values()))
            return
        if source.divided:
            raise DataError.at(
                "--splits", f"{source.path} is divided already ({_told(self.sizes)})", remedy="leave `--splits` out"
            )
        num = source.num_samples
        ends = np.rint(np.cumsum(list(fractions.values())) * num).astype(int)
        self.sizes = dict(zip(fractions, np.diff(ends, prepend=0).tolist(), strict=True))
        if empty := [split for split, size in self.sizes.items() if not size]:
            raise DataError.at("--splits", f"the {empty[0]} split of {num} samples would be empty", remedy="raise it")
        labels = source.labels()
        self._split_of = np.empty(num, np.int8)
        dealt = stratified(np.zeros(num, np.int8) if labels is None else labels, self.sizes, seed)
        for number, rows in enumerate(dealt.values()):
            self._split_of[rows] = number

    def first_missing(self, stored: Mapping[str, int]) -> int | None:
        """The first sample of the source that is not stored yet; None when all are.

        Args:
            stored: how many samples of each split are stored.
        """
        missing = [
            int(np.flatnonzero(self._split_of == number)[stored[split]])
            for number, (split, size) in enumerate(self.sizes.items())
            if stored[split] < size
        ]
        return min(missing, default=None)

    def dealt_before(self, start: int) -> dict[str, int]:
        """How many of the samples before ``start`` each split has."""
        counts = np.bincount(self._split_of[:start], minlength=len(self.sizes))
        return dict(zip(self.sizes, counts.tolist(), strict=True))

    def of_block(self, start: int, num: int) -> Iterator[tuple[str, slice | NDArray[np.intp]]]:
        """Each split that has samples of a block, and which of the block's samples they are.

        Args:
            start: number of the block's first sample.
            num: samples in the block.
        """
        block = self._split_of[start : start + num]
        for number, split in enumerate(self.sizes):
            chosen = np.flatnonzero(block == number)
            if len(chosen):
                yield split, slice(0, num) if len(chosen) == num else chosen


def parse_fractions(text: str) -> dict[str, float]:
    """Shares by split from ``train=.8,val=.1,test=.1``, in our order of the splits.

    Raises:
        DataError: a word is no split or no number, or the shares are not 1 altogether.
    """

    def fail(problem: str, value: object) -> DataError:
        return DataError.at(
            "--splits", problem, value=value, allowed="for example train=.8,val=.1,test=.1, 1 altogether"
        )

    shares: dict[str, float] = {}
    for word in text.split(","):
        split, _, share = word.strip().partition("=")
        try:
            shares[split] = float(share)
        except ValueError:
            raise fail("is not a share", word) from None
        if split not in SPLITS or not 0 < shares[split] <= 1:
            raise fail("is not a split with a share above 0", word)
    if "train" not in shares:
        raise fail("has no share for train", text)
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise fail(f"adds up to {sum(shares.values()):g}", text)
    return {split: shares[split] for split in SPLITS if split in shares}


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size:,}" for split, size in sizes.items())
