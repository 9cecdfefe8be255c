"""A user's own transform of training batches, in worker processes where it takes long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data.distributed import DistributedSampler

from hpc_dl.data.batches.loader import Batch, BatchLoader
from hpc_dl.data.batches.worker_signals import leave_signals_to_parent

_Numbered = tuple[tuple[int, int, int], Batch]


def transforming(
    loader: BatchLoader, transform: Callable[[Any], Any], num_workers: int, seed: int, *, pin_memory: bool
) -> DataLoader[Batch]:
    """A DataLoader that applies a transform to the batches of a loader.

    The batches themselves are the indices that the DataLoader hands to its workers, through shared
    memory: one process reads the file, and the workers hold no handle of it.

    Args:
        loader: gives the batches.
        transform: takes a batch and returns what takes its place.
        num_workers: processes that apply it; 0 for this one.
        seed: of the random numbers that it draws.
        pin_memory: whether the results go to a GPU.
    """
    return DataLoader(
        _Transformed(transform, seed),
        sampler=_Batches(loader),
        batch_size=None,
        collate_fn=_as_it_is,  # the DataLoader's own would turn tuples into lists
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=leave_signals_to_parent,
        # Else each epoch's start would draw from torch's global generator.
        generator=torch.Generator().manual_seed(seed),
        pin_memory=pin_memory,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


class _Batches(DistributedSampler):  # type: ignore[type-arg]
    """The batches of a loader, in a sampler's place.

    Under DDP Lightning wraps every sampler that is no DistributedSampler, which would deal the
    batches a second time. Only the type is used.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[_Numbered]:
        order = self._loader.sampler
        epoch, first = order.epoch, order.start_batch
        for number, batch in enumerate(self._loader, first):
            yield (epoch, number, order.rank), batch

    def __len__(self) -> int:
        return len(self._loader)

    def set_epoch(self, epoch: int) -> None:
        self._loader.sampler.set_epoch(epoch)


class _Transformed(Dataset[Batch]):
    """Applies the transform; what it draws depends on seed, epoch, batch and rank, not on who draws
    it.
    """

    def __init__(self, transform: Callable[[Any], Any], seed: int) -> None:
        self._transform = transform
        self._seed = seed

    def __getitem__(self, numbered: _Numbered) -> Batch:
        place, batch = numbered
        with _random_numbers(self._seed, *place):
            result: Batch = self._transform(batch)
            return result


@contextmanager
def _random_numbers(seed: int, epoch: int, batch: int, rank: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators; the training process gets its own back
    afterwards.
    """
    words = np.random.SeedSequence(seed % 2**64, spawn_key=(epoch, batch, rank)).generate_state(4, np.uint64)
    in_worker = get_worker_info() is not None
    states = None if in_worker else (random.getstate(), np.random.get_state(), torch.random.get_rng_state())
    random.seed(int(words[0]))
    np.random.seed(words[1:2].view(np.uint32))
    torch.default_generator.manual_seed(int(words[2] >> np.uint64(1)))
    try:
        yield
    finally:
        if states is not None:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.random.set_rng_state(states[2])
