"""Assignment of the samples of a source to splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.splits import stratified
from hpc_dl.data.packing.source import Source
from hpc_dl.data.spec import SPLITS
from hpc_dl.errors import DataError


class SplitAssignment:
    """The split of each sample of a source; each split keeps the order of the source.

    A stream is cut into consecutive parts. Samples of one group (a subject) stay together; then the
    shares are those of the groups.

    Args:
        source: the samples.
        fractions: share of each split, 1 in total; None to use the source's own splits.
        seed: seed of the random split.

    Attributes:
        sizes: number of samples of each split.
        by_group: whether the split keeps the samples of a group together.
        notes: messages to the user about the split.

    Raises:
        DataError: the source already has splits, or a split would be empty.
    """

    def __init__(self, source: Source, fractions: Mapping[str, float] | None, seed: int) -> None:
        self.sizes, self.by_group = dict(source.sizes), False
        self.notes: list[str] = []
        if fractions is None:
            self._split_of = np.repeat(np.arange(len(self.sizes), dtype=np.int8), list(self.sizes.values()))
            return
        if source.has_splits:
            raise DataError.at(
                "--splits", f"{source.path} already has splits ({_describe(self.sizes)})", remedy="omit `--splits`"
            )
        groups = None if source.stream else source.groups()
        if groups is None:
            self.sizes = _sizes(source.num_samples, fractions, "samples")
        if source.stream:
            self._split_of = np.repeat(np.arange(len(self.sizes), dtype=np.int8), list(self.sizes.values()))
            return
        labels = source.labels()
        labels = np.zeros(source.num_samples, np.int8) if labels is None else labels
        if groups is None:
            self._split_of = _numbers(stratified(labels, self.sizes, seed), source.num_samples)
            return
        self.by_group = True
        _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
        sizes = _sizes(len(first), fractions, "groups")
        self._split_of = _numbers(stratified(labels[first], sizes, seed), len(first))[group_of]
        counts = np.bincount(self._split_of, minlength=len(sizes))
        self.sizes = dict(zip(sizes, counts.tolist(), strict=True))
        self.notes.append(f"no group is in two splits (groups: {_describe(sizes)})")

    def is_in(self, split: str) -> NDArray[np.bool_]:
        """Return whether each sample of the source belongs to a split, (N,)."""
        return np.asarray(self._split_of == list(self.sizes).index(split))

    def first_missing(self, stored: Mapping[str, int]) -> int | None:
        """Return the first sample of the source that is not stored yet; None if all are stored.

        Args:
            stored: number of samples of each split that are stored.
        """
        missing = [
            int(np.flatnonzero(self._split_of == number)[stored[split]])
            for number, (split, size) in enumerate(self.sizes.items())
            if stored[split] < size
        ]
        return min(missing, default=None)

    def counts_before(self, start: int) -> dict[str, int]:
        """Return how many of the samples before ``start`` each split has."""
        counts = np.bincount(self._split_of[:start], minlength=len(self.sizes))
        return dict(zip(self.sizes, counts.tolist(), strict=True))

    def of_block(self, start: int, num: int) -> Iterator[tuple[str, slice | NDArray[np.intp]]]:
        """Yield each split with samples in a block, and the rows of these samples in the block.

        Args:
            start: number of the block's first sample.
            num: number of samples in the block.
        """
        block = self._split_of[start : start + num]
        for number, split in enumerate(self.sizes):
            rows = np.flatnonzero(block == number)
            if len(rows):
                yield split, slice(0, num) if len(rows) == num else rows


def parse_fractions(text: str) -> dict[str, float]:
    """Parse the share of each split from text such as ``train=.8,val=.1,test=.1``.

    Raises:
        DataError: a split or a share is invalid, or the shares do not add up to 1.
    """

    def fail(problem: str, value: object) -> DataError:
        return DataError.at("--splits", problem, value=value, allowed="for example train=.8,val=.1,test=.1, 1 in total")

    shares: dict[str, float] = {}
    for part in text.split(","):
        split, _, share = part.strip().partition("=")
        try:
            shares[split] = float(share)
        except ValueError:
            raise fail("is not a number", part) from None
        if split not in SPLITS or not 0 < shares[split] <= 1:
            raise fail("is not a split with a share above 0", part)
    if "train" not in shares:
        raise fail("has no share for train", text)
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise fail(f"adds up to {sum(shares.values()):g}", text)
    return {split: shares[split] for split in SPLITS if split in shares}


def _sizes(num: int, fractions: Mapping[str, float], what: str) -> dict[str, int]:
    """Divide a number of samples or groups.

    Raises:
        DataError: a split would be empty.
    """
    ends = np.rint(np.cumsum(list(fractions.values())) * num).astype(int)
    sizes: dict[str, int] = dict(zip(fractions, np.diff(ends, prepend=0).tolist(), strict=True))
    if empty := [split for split, size in sizes.items() if not size]:
        raise DataError.at(
            "--splits", f"the {empty[0]} split of {num} {what} would be empty", remedy="increase its share"
        )
    return sizes


def _numbers(rows_of: Mapping[str, NDArray[np.intp]], num: int) -> NDArray[np.int8]:
    """Return the number of the split of each sample, as one byte."""
    numbers = np.empty(num, np.int8)
    for number, rows in enumerate(rows_of.values()):
        numbers[rows] = number
    return numbers


def _describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {size:,}" for split, size in sizes.items())
