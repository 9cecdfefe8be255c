"""The order of the samples: a function of seed and epoch alone, whatever the number of processes.

NumPy keeps the raw stream of a bit generator the same in all versions, but not what ``Generator.permutation`` makes of
it; sorting raw draws of Philox (Salmon et al., 2011) therefore gives one order everywhere and for good.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hpc_dl.errors import DataError


def permutation(num_samples: int, seed: int, stream: int) -> NDArray[np.intp]:
    """A random order of ``range(num_samples)``, fixed by the seed and the number of a stream."""
    draws = np.random.Philox(key=np.array([seed % 2**64, stream % 2**64], np.uint64)).random_raw(num_samples)
    return np.argsort(draws, kind="stable")


def epoch_order(num_samples: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """The order in which an epoch of training visits the samples, shape (num_samples,)."""
    return permutation(num_samples, seed, epoch)


class BatchOrder:
    """The rows of one process's batches, a sampler for ``DataLoader(dataset, sampler=…, batch_size=None)``.

    Training (``shuffle=True``): with m samples per process and G = m * num_ranks, global batch b is
    ``order[b*G : (b+1)*G]`` and rank r takes its r-th m-th part. What a global batch holds depends on seed, epoch and b
    only, so one process with G samples learns from the same batches. The last, incomplete global batch is dropped:
    every rank then has equally many batches of equal size, without which the average of the ranks' gradients is not
    the gradient of the batch, and a rank without a batch leaves the others waiting for ever. Another epoch drops
    other samples.

    Evaluation (``shuffle=False``): nothing is dropped and nothing is seen twice. Each rank takes one consecutive part
    and cuts it into batches; parts and batches differ by at most one sample in size, and all ranks have the same number
    of batches, so that a collective operation in a step finds all of them. (A batch holds one sample more than
    ``batch_size`` where that is 1 and the ranks do not divide the samples.)

    Attributes:
        epoch: the epoch whose order is given next.
        start_batch: batches of that epoch to leave out, for going on in mid-epoch; 0 again in the next epoch.
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
            where: what a fault names: the file and the split.

        Raises:
            DataError: there are fewer samples than one global batch (training) or than ranks (evaluation).
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
        """Row numbers of each batch, shape (batch_size,) in training."""
        batches = self._training_batches() if self.shuffle else self._evaluation_batches()
        yield from batches[self.start_batch :]

    def set_epoch(self, epoch: int) -> None:
        """Move to another epoch; Lightning calls this before each."""
        if epoch != self.epoch:
            self.start_batch = 0
        self.epoch = epoch

    def _training_batches(self) -> NDArray[np.intp]:
        order = epoch_order(self.num_samples, self.seed, self.epoch)
        whole = order[: len(self) * self.num_ranks * self.batch_size]
        return whole.reshape(len(self), self.num_ranks, self.batch_size)[:, self.rank]

    def _evaluation_batches(self) -> list[NDArray[np.intp]]:
        part = np.array_split(np.arange(self.num_samples), self.num_ranks)[self.rank]
        return np.array_split(part, len(self))
