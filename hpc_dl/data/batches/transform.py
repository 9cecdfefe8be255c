"""A user's transform of training batches, in worker processes if it is slow."""

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
from hpc_dl.data.batches.worker_signals import ignore_job_signals

_Numbered = tuple[tuple[int, int, int], Batch]


def with_transform(
    loader: BatchLoader, transform: Callable[[Any], Any], num_workers: int, seed: int, *, pin_memory: bool
) -> DataLoader[Batch]:
    """Return a DataLoader that applies a transform to the batches of a loader.

    The DataLoader hands the batches themselves to its workers in place of indices, through shared
    memory. One process reads the file, and the workers do not open it.

    Args:
        loader: yields the batches.
        transform: takes a batch and returns its replacement.
        num_workers: number of processes that apply it; 0 for this process.
        seed: seed of the random numbers that it draws.
        pin_memory: whether the results go to a GPU.
    """
    return DataLoader(
        _Transformed(transform, seed),
        sampler=_Batches(loader),
        batch_size=None,
        collate_fn=_unchanged,  # the default one would turn tuples into lists
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_job_signals,
        # Without this, each epoch would draw from torch's global generator.
        generator=torch.Generator().manual_seed(seed),
        pin_memory=pin_memory,
    )


def _unchanged(batch: Any) -> Any:
    return batch


class _Batches(DistributedSampler):  # type: ignore[type-arg]
    """The batches of a loader, in place of a sampler.

    Under DDP Lightning wraps every sampler that is not a DistributedSampler, which would distribute
    the batches a second time. Only the type of the base class is used.
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
    """Applies the transform.

    Its random numbers depend on seed, epoch, batch and rank, not on the worker that draws them.
    """

    def __init__(self, transform: Callable[[Any], Any], seed: int) -> None:
        self._transform = transform
        self._seed = seed

    def __getitem__(self, numbered: _Numbered) -> Batch:
        key, batch = numbered
        with _seeded_generators(self._seed, *key):
            result: Batch = self._transform(batch)
            return result


@contextmanager
def _seeded_generators(seed: int, epoch: int, batch: int, rank: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch.

    The training process gets its previous states back afterward.
    """
    seeds = np.random.SeedSequence(seed % 2**64, spawn_key=(epoch, batch, rank)).generate_state(4, np.uint64)
    in_worker = get_worker_info() is not None
    states = None if in_worker else (random.getstate(), np.random.get_state(), torch.random.get_rng_state())
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1:2].view(np.uint32))
    torch.default_generator.manual_seed(int(seeds[2] >> np.uint64(1)))
    try:
        yield
    finally:
        if states is not None:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.random.set_rng_state(states[2])
