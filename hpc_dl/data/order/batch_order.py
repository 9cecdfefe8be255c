"""The order of the samples: a function of seed, epoch and step alone, so that a training can be
entered anywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.order.permutation import Permutation, permutation
from hpc_dl.errors import DataError

_LARGEST_NUM_BLOCKS = 1 << 18


class _Sequence(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


T = TypeVar("T", bound=_Sequence)


def epoch_order(num_samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """The exact shuffle of an epoch of training: the order of its samples, shape (num_samples,)."""
    return permutation(num_samples, seed, epoch)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Consecutive samples that are read together, because they lie together in the file.

    Attributes:
        bounds: (B + 1,) first sample of each block, and the number of samples at the end; none is
            empty.
        in_window: blocks whose samples are in memory, and shuffled among each other, at a time.
    """

    bounds: NDArray[np.intp]
    in_window: int

    @classmethod
    def of(
        cls,
        num_samples: int,
        first_rows: NDArray[np.intp] | None = None,
        *,
        rows_together: int = 1,
        least_samples: int = 1,
        window_samples: int,
    ) -> Blocks:
        """Cut a split.

        Args:
            num_samples: samples in the split.
            first_rows: the row in the file with which each of them begins, ascending; None for 0,
                1, …
            rows_together: rows that can only be read as one: a chunk's.
            least_samples: samples of a block, so that the disk is read in long pieces.
            window_samples: samples that are shuffled among each other.
        """
        num_rows = num_samples if first_rows is None else int(first_rows[-1]) + 1
        least_rows = max(least_samples * num_rows / num_samples, num_rows / _LARGEST_NUM_BLOCKS)
        block_rows = math.ceil(least_rows / rows_together) * rows_together
        bounds = np.arange(0, num_rows, block_rows)
        if first_rows is not None:
            bounds = np.unique(np.searchsorted(first_rows, bounds))
        return cls(np.append(bounds, num_samples), max(1, window_samples * len(bounds) // num_samples))

    def __len__(self) -> int:
        return len(self.bounds) - 1


class BatchOrder:
    """The samples of one process's batches, in the order in which they are seen.

    Training (``shuffle=True``): an epoch is a line of all samples in random order, of which the
        last, incomplete global
    batch is dropped: every rank then has equally many batches of equal size, without which the
    average of the ranks' gradients is not the gradient of the batch, and a rank without a batch
    leaves the others waiting for ever. Another epoch drops other samples. With m samples per
    process and G = m * num_ranks:

    - Exact shuffle (no ``blocks``): all orders are equally likely. Global batch b is ``line[b*G :
      (b+1)*G]`` and rank r takes its r-th m-th part. What a global batch holds depends on seed,
      epoch and b only, so one process with G samples learns from the same batches.
    - By blocks: blocks are put in random order and each rank gets a consecutive part of that line:
      no rank reads what another reads, except the blocks at the cuts. Some blocks at a time,
      ``blocks.in_window`` of them, are shuffled sample by sample. Samples that lie further apart in
      the line never share a batch.

    Evaluation (``shuffle=False``): nothing is dropped and nothing is seen twice. Each rank takes
        one consecutive part
    and cuts it into batches; parts and batches differ by at most one sample in size, and all ranks
    have the same number of batches, so that a collective operation in a step finds all of them. (A
    batch holds one sample more than ``batch_size`` where that is 1 and the ranks do not divide the
    samples.)

    Attributes:
        epoch: the epoch whose order is given next.
        start_batch: batches of that epoch to leave out, for going on in mid-epoch; 0 again in the
            next epoch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        blocks: Blocks | None = None,
        where: str = "data",
    ) -> None:
        """Plan the batches of a split.

        Args:
            num_samples: samples in the split.
            batch_size: samples per batch on each rank.
            shuffle: True for training, False for evaluation.
            seed: seed of the order.
            rank: number of this process, from 0.
            num_ranks: number of processes that share the work.
            blocks: shuffle by these blocks; None for the exact shuffle.
            where: what a fault names: the file and the split.

        Raises:
            DataError: there are fewer samples than one global batch (training) or than ranks
                (evaluation).
        """
        if shuffle and num_samples < batch_size * num_ranks:
            raise DataError.at(
                where,
                f"{num_samples} samples do not fill one batch of {batch_size} on each of {num_ranks} devices",
                remedy="lower `data.batch_size` or use fewer devices",
            )
        if num_samples < num_ranks:
            raise DataError.at(
                where, f"{num_samples} samples for {num_ranks} devices", remedy=f"use at most {num_samples} devices"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.blocks = blocks
        self.epoch = 0
        self.start_batch = 0

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch."""
        if self.shuffle:
            return self.num_samples // (self.batch_size * self.num_ranks)
        smallest_part, rest = divmod(self.num_samples, self.num_ranks)
        largest_part = smallest_part + bool(rest)
        return min(-(-largest_part // self.batch_size), smallest_part)

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        """Sample numbers of each batch, shape (batch_size,) in training."""
        return cut(self.stretches(), self.sizes(), np.concatenate)

    def sizes(self) -> Iterator[int]:
        """Samples in each batch, from ``start_batch`` on."""
        smaller, rest = (self.batch_size, 0) if self.shuffle else divmod(self._part()[1], len(self))
        for batch in range(self.start_batch, len(self)):
            yield smaller + (batch < rest)

    def stretches(self, most: int = 1 << 14) -> Iterator[NDArray[np.intp]]:
        """The same samples as in the batches, in the same order, in other pieces: a window of
        blocks each, if any.

        Args:
            most: samples in a piece where there are no blocks; whole batches, at least one.
        """
        if self.shuffle:
            return self._shuffled_exactly(most) if self.blocks is None else self._shuffled_by_blocks(self.blocks)
        return self._in_sequence(most)

    def set_epoch(self, epoch: int) -> None:
        """Move to another epoch; Lightning calls this before each."""
        if epoch != self.epoch:
            self.start_batch = 0
        self.epoch = epoch

    def _shuffled_exactly(self, most: int) -> Iterator[NDArray[np.intp]]:
        line = Permutation(self.num_samples, self.seed, self.epoch)
        size, whole = self.batch_size, self.batch_size * self.num_ranks
        own = np.arange(self.rank * size, (self.rank + 1) * size)
        step = max(1, most // size)
        for first in range(self.start_batch, len(self), step):
            batches = np.arange(first, min(first + step, len(self)))
            yield line[(whole * batches[:, None] + own).reshape(-1)]

    def _shuffled_by_blocks(self, blocks: Blocks) -> Iterator[NDArray[np.intp]]:
        order = Permutation(len(blocks), self.seed, self.epoch)[:]
        begins = blocks.bounds[order]
        line = np.append(0, np.cumsum(blocks.bounds[order + 1] - begins))  # where in the line each block begins
        begin = self.rank * len(self) * self.batch_size
        end = begin + len(self) * self.batch_size
        skip = self.start_batch * self.batch_size

        def within_cut(block: int) -> NDArray[np.intp]:
            """This rank's samples of a block at the end of its part: at random, not always those
            that lie first.
            """
            start, stop = int(line[block]), int(line[block + 1])
            chosen = Permutation(stop - start, self.seed, self.epoch, (0, int(order[block])))
            found: NDArray[np.intp] = begins[block] + chosen[max(begin - start, 0) : min(end, stop) - start]
            return found

        first, last = np.searchsorted(line, [begin, end - 1], side="right") - 1
        num_windows = -(-(last + 1 - first) // blocks.in_window)
        windows = np.linspace(first, last + 1, num_windows + 1).astype(np.intp)  # of about the same size
        for window, (block, stop) in enumerate(itertools.pairwise(windows)):
            cuts = line[block : stop + 1].clip(begin, end)  # the blocks at the ends are shared with other ranks
            if (num := int(cuts[-1] - cuts[0])) <= skip:
                skip -= num
                continue
            lengths = np.diff(cuts)
            # Of each place: its distance from the block's place in the line, added to the block's
            # first sample.
            samples = np.arange(cuts[0], cuts[-1]) + np.repeat(begins[block:stop] - line[block:stop], lengths)
            if cuts[0] > line[block]:
                samples[: lengths[0]] = within_cut(block)
            if cuts[-1] < line[stop]:
                samples[len(samples) - lengths[-1] :] = within_cut(stop - 1)
            yield samples[Permutation(num, self.seed, self.epoch, (1 + self.rank, window))[skip:]]
            skip = 0

    def _in_sequence(self, most: int) -> Iterator[NDArray[np.intp]]:
        begin, num = self._part()
        smaller, rest = divmod(num, len(self))
        done = self.start_batch * smaller + min(self.start_batch, rest)
        bounds = np.arange(begin + done, begin + num, most)
        if self.blocks is not None:
            bounds = self.blocks.bounds[:: self.blocks.in_window]
            bounds = np.append(begin + done, bounds[(bounds > begin + done) & (bounds < begin + num)])
        for start, stop in zip(bounds, np.append(bounds[1:], begin + num), strict=True):
            yield np.arange(start, stop)

    def _part(self) -> tuple[int, int]:
        """First sample and number of samples of this rank in evaluation."""
        smaller, rest = divmod(self.num_samples, self.num_ranks)
        return self.rank * smaller + min(self.rank, rest), smaller + (self.rank < rest)


def cut(pieces: Iterator[T], sizes: Iterable[int], join: Callable[[list[T]], T]) -> Iterator[T]:
    """Cut a sequence that comes in pieces of any length into parts of these lengths: slices where
    that is possible.

    Args:
        pieces: arrays, tensors, or what else has a length and can be sliced.
        sizes: lengths of the parts, not more altogether than there is.
        join: makes one of several.
    """
    piece: T | None = None
    begin = length = 0
    for size in sizes:
        found: list[T] = []
        while size:
            if piece is None or begin == length:
                piece = next(pieces)
                begin, length = 0, len(piece)
            end = min(begin + size, length)
            found.append(piece if end - begin == length else piece[begin:end])
            size -= end - begin
            begin = end
        yield found[0] if len(found) == 1 else join(found)
