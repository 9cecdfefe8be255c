"""The order of the samples: a function of seed, epoch and step only.

Training can therefore start at any batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.order.permutation import Permutation
from hpc_dl.errors import DataError

_LARGEST_NUM_BLOCKS = 1 << 18


class _Sequence(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


T = TypeVar("T", bound=_Sequence)


@dataclass(frozen=True, eq=False)
class Blocks:
    """Consecutive samples that are read together because the file stores them together.

    Attributes:
        bounds: (B + 1,) first sample of each block, and the number of samples at the end; no block
            is empty.
        blocks_per_window: number of blocks in memory at a time, whose samples are shuffled
            together.
    """

    bounds: NDArray[np.intp]
    blocks_per_window: int

    @classmethod
    def of(
        cls,
        num_samples: int,
        first_rows: NDArray[np.intp] | None = None,
        *,
        rows_together: int = 1,
        min_samples: int = 1,
        window_samples: int,
    ) -> Blocks:
        """Divide a split into blocks.

        Args:
            num_samples: samples in the split.
            first_rows: the first row of each sample in the file, ascending; None for 0, 1, …
            rows_together: rows that can only be read together, such as those of a chunk.
            min_samples: the least number of samples in a block, so that disk reads are long.
            window_samples: samples that are shuffled together.
        """
        num_rows = num_samples if first_rows is None else int(first_rows[-1]) + 1
        min_rows = max(min_samples * num_rows / num_samples, num_rows / _LARGEST_NUM_BLOCKS)
        block_rows = math.ceil(min_rows / rows_together) * rows_together
        bounds = np.arange(0, num_rows, block_rows)
        if first_rows is not None:
            bounds = np.unique(np.searchsorted(first_rows, bounds))
        return cls(np.append(bounds, num_samples), max(1, window_samples * len(bounds) // num_samples))

    def __len__(self) -> int:
        return len(self.bounds) - 1


class BatchOrder:
    """The samples of one process's batches, in the order in which they are used.

    Training (``training=True``): an epoch is a line of all samples in random order. The last,
    incomplete global batch is dropped, so every rank has the same number of batches of the same
    size. Otherwise the average of the ranks' gradients would not be the gradient of the batch, and
    a rank without a batch would leave the others waiting forever. Each epoch drops other samples.
    With m samples per process and G = m * world_size:

    - Exact shuffle (no ``blocks``): all orders are equally likely. Global batch b is ``line[b*G :
      (b+1)*G]``, and rank r takes its r-th part of m samples. A global batch depends on seed, epoch
      and b only, so a single process with G samples per batch trains on the same batches.
    - By blocks: the blocks are shuffled, and each rank gets a consecutive part of the line, so no
      two ranks read the same blocks, except where the line is cut. Within a window of
      ``blocks.blocks_per_window`` blocks the samples are shuffled individually. Samples farther
      apart in the line never share a batch.

    Evaluation (``training=False``): every sample is used exactly once. Each rank takes one
    consecutive part and cuts it into batches. Parts and batches differ by at most one sample in
    size, and all ranks have the same number of batches, so collective operations in a step involve
    all ranks. (A batch has one sample more than ``batch_size`` if that is 1 and the samples do not
    divide evenly among the ranks.)

    Attributes:
        epoch: the epoch whose order is given next.
        start_batch: number of batches of that epoch to skip, to resume in mid-epoch; reset to 0 in
            the next epoch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        training: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        blocks: Blocks | None = None,
        where: str = "data",
    ) -> None:
        """Plan the batches of a split.

        Args:
            num_samples: samples in the split.
            batch_size: samples per batch on each rank.
            training: whether the order is for training; otherwise for evaluation.
            seed: seed of the order.
            rank: rank of this process, from 0.
            world_size: number of processes that share the work.
            blocks: shuffle by these blocks; None for the exact shuffle.
            where: the file and split that an error names.

        Raises:
            DataError: there are fewer samples than one global batch (training) or than ranks
                (evaluation).
        """
        if training and num_samples < batch_size * world_size:
            raise DataError.at(
                where,
                f"{num_samples} samples cannot fill one batch of {batch_size} on each of {world_size} devices",
                remedy="lower `data.batch_size` or use fewer devices",
            )
        if num_samples < world_size:
            raise DataError.at(
                where,
                f"has fewer samples ({num_samples}) than there are devices ({world_size})",
                remedy=f"use at most {num_samples} devices",
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.blocks = blocks
        self.epoch = 0
        self.start_batch = 0

    def __len__(self) -> int:
        """Return the number of batches of this rank in a whole epoch."""
        if self.training:
            return self.num_samples // (self.batch_size * self.world_size)
        smallest_part, remainder = divmod(self.num_samples, self.world_size)
        largest_part = smallest_part + bool(remainder)
        return min(-(-largest_part // self.batch_size), smallest_part)

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        """Yield the sample numbers of each batch, shape (batch_size,) in training."""
        return cut(self.pieces(), self.sizes(), np.concatenate)

    def sizes(self) -> Iterator[int]:
        """Yield the number of samples in each batch, from ``start_batch`` on."""
        smaller, remainder = (self.batch_size, 0) if self.training else divmod(self._part()[1], len(self))
        for batch in range(self.start_batch, len(self)):
            yield smaller + (batch < remainder)

    def pieces(self, max_samples: int = 1 << 14) -> Iterator[NDArray[np.intp]]:
        """Yield the samples of the batches in the same order, in pieces of other sizes.

        With blocks, a piece is a window.

        Args:
            max_samples: size of a piece without blocks, rounded down to whole batches (at least
                one).
        """
        if self.training:
            return self._shuffled_exactly(max_samples) if self.blocks is None else self._shuffled_by_blocks(self.blocks)
        return self._in_sequence(max_samples)

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch; Lightning calls this before each epoch."""
        if epoch != self.epoch:
            self.start_batch = 0
        self.epoch = epoch

    def _shuffled_exactly(self, max_samples: int) -> Iterator[NDArray[np.intp]]:
        line = Permutation(self.num_samples, self.seed, self.epoch)
        size, global_size = self.batch_size, self.batch_size * self.world_size
        own = np.arange(self.rank * size, (self.rank + 1) * size)
        step = max(1, max_samples // size)
        for first in range(self.start_batch, len(self), step):
            batches = np.arange(first, min(first + step, len(self)))
            yield line[(global_size * batches[:, None] + own).reshape(-1)]

    def _shuffled_by_blocks(self, blocks: Blocks) -> Iterator[NDArray[np.intp]]:
        order = Permutation(len(blocks), self.seed, self.epoch)[:]
        first_samples = blocks.bounds[order]
        line = np.append(0, np.cumsum(blocks.bounds[order + 1] - first_samples))  # position of each block in the line
        begin = self.rank * len(self) * self.batch_size
        end = begin + len(self) * self.batch_size
        skip = self.start_batch * self.batch_size

        def within_cut(block: int) -> NDArray[np.intp]:
            """Return this rank's share of a block that two ranks share, drawn at random."""
            start, stop = int(line[block]), int(line[block + 1])
            chosen = Permutation(stop - start, self.seed, self.epoch, (0, int(order[block])))
            samples: NDArray[np.intp] = first_samples[block] + chosen[max(begin - start, 0) : min(end, stop) - start]
            return samples

        first, last = np.searchsorted(line, [begin, end - 1], side="right") - 1
        num_windows = -(-(last + 1 - first) // blocks.blocks_per_window)
        windows = np.linspace(first, last + 1, num_windows + 1).astype(np.intp)  # of about equal size
        for window, (block, stop) in enumerate(itertools.pairwise(windows)):
            cuts = line[block : stop + 1].clip(begin, end)  # blocks at the ends are shared with other ranks
            if (num := int(cuts[-1] - cuts[0])) <= skip:
                skip -= num
                continue
            lengths = np.diff(cuts)
            # Sample at a position of the line: the first sample of its block, plus the position's
            # distance from the start of the block.
            samples = np.arange(cuts[0], cuts[-1]) + np.repeat(first_samples[block:stop] - line[block:stop], lengths)
            if cuts[0] > line[block]:
                samples[: lengths[0]] = within_cut(block)
            if cuts[-1] < line[stop]:
                samples[len(samples) - lengths[-1] :] = within_cut(stop - 1)
            yield samples[Permutation(num, self.seed, self.epoch, (1 + self.rank, window))[skip:]]
            skip = 0

    def _in_sequence(self, max_samples: int) -> Iterator[NDArray[np.intp]]:
        begin, num = self._part()
        smaller, remainder = divmod(num, len(self))
        done = self.start_batch * smaller + min(self.start_batch, remainder)
        bounds = np.arange(begin + done, begin + num, max_samples)
        if self.blocks is not None:
            bounds = self.blocks.bounds[:: self.blocks.blocks_per_window]
            bounds = np.append(begin + done, bounds[(bounds > begin + done) & (bounds < begin + num)])
        for start, stop in zip(bounds, np.append(bounds[1:], begin + num), strict=True):
            yield np.arange(start, stop)

    def _part(self) -> tuple[int, int]:
        """Return the first sample and the number of samples of this rank in evaluation."""
        smaller, remainder = divmod(self.num_samples, self.world_size)
        return self.rank * smaller + min(self.rank, remainder), smaller + (self.rank < remainder)


def cut(pieces: Iterator[T], sizes: Iterable[int], join: Callable[[list[T]], T]) -> Iterator[T]:
    """Cut a sequence that comes in pieces into parts of given lengths, as slices where possible.

    Args:
        pieces: arrays, tensors, or anything else with a length that can be sliced.
        sizes: lengths of the parts; no more in total than the pieces hold.
        join: concatenates several pieces.
    """
    piece: T | None = None
    begin = length = 0
    for size in sizes:
        parts: list[T] = []
        while size:
            if piece is None or begin == length:
                piece = next(pieces)
                begin, length = 0, len(piece)
            end = min(begin + size, length)
            parts.append(piece if end - begin == length else piece[begin:end])
            size -= end - begin
            begin = end
        yield parts[0] if len(parts) == 1 else join(parts)
