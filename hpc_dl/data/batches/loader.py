"""Loaders of one split, in place of a DataLoader.

Each batch, or window of many batches, takes one operation: there are no worker processes, no work
per sample, and nothing to collate. Lightning accepts any iterable that has a length.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.batches.read_ahead import announce_ahead, read_ahead
from hpc_dl.data.files.fields import Values
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.order.batch_order import BatchOrder, cut
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.storage.available_memory import stays_in_memory

#: ``(x, y)``, or each column by its name where there are several inputs or targets.
Batch = tuple[Any, Any] | dict[str, Any]

# Types that torch lacks or hardly supports, and the smallest that holds their values. float64
# becomes float32 to halve the transfer.
_TORCH_TYPES = {
    np.dtype(stored): np.dtype(converted)
    for stored, converted in {
        "bool": "uint8",
        "uint16": "int32",
        "uint32": "int64",
        "uint64": "float32",
        "float64": "float32",
    }.items()
}
_PINNED_AHEAD = 2
_PREFETCHED_AHEAD = 4  # windows or gathers
_PRELOADED_BYTES = 256 << 20  # reading takes about a tenth of a second
# Small batches are gathered several at a time, to be handed out while they are in the cache.
_GATHERED_BYTES = 512 << 10


@dataclass(slots=True)
class Samples:
    """Samples as columns of equal length, one per dataset; slices are views."""

    columns: tuple[Values, ...]

    def __len__(self) -> int:
        """Return the number of samples, not of columns."""
        first = self.columns[0]
        return len(first.offsets) - 1 if isinstance(first, Ragged) else len(first)

    def __getitem__(self, part: slice) -> Samples:
        """Return consecutive samples."""
        return Samples(tuple([c.part(part) if isinstance(c, Ragged) else c[part] for c in self.columns]))

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """Concatenate several groups of samples."""
        columns = zip(*(part.columns for part in parts), strict=True)
        return Samples(tuple(Ragged.joined(c) if isinstance(c[0], Ragged) else np.concatenate(c) for c in columns))


class BatchLoader:
    """Reads batches on demand or ahead of time.

    Rows that can be read one by one are gathered batch by batch on demand: a thread would cost more
    than it saves. If chunks must be decoded, a background thread reads the next window of samples
    while slices of the current one are handed out as batches. For a GPU, batches are always read
    ahead and pinned.

    Attributes:
        sampler: the order. Lightning sets the epoch on an attribute of this name. The order takes
            effect with the first batch, not when the iterator is created.
    """

    batch_sampler = None  # Lightning expects this attribute next to `sampler`

    def __init__(self, reader: SplitReader, order: BatchOrder, *, pin_memory: bool = False) -> None:
        """Describe the batches; nothing is opened or read yet.

        Args:
            reader: reads the split; serves this loader only.
            order: the samples of each batch.
            pin_memory: put batches into page-locked memory, from which a GPU copies them
                asynchronously.
        """
        self.sampler = order
        self._reader = reader
        self._pin_memory = pin_memory
        self._in_memory: bool | None = None

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Yield inputs as stored, and targets, of each batch from ``sampler.start_batch`` on."""
        batch = self._reader.spec.batch
        for samples in self._samples():
            yield batch(tensors(samples.columns))

    def _samples(self) -> Iterator[Samples]:
        order, reader = self.sampler, self._reader
        if order.blocks is None and self._in_memory is None:
            # Single rows from all over the file will be read; a disk is faster sequentially.
            num_bytes = len(reader) * reader.bytes_per_sample
            self._in_memory = stays_in_memory(num_bytes)
            if num_bytes <= _PRELOADED_BYTES and self._in_memory:
                reader.preload()
            elif self._in_memory:
                threading.Thread(target=reader.preload, name="preload", daemon=True).start()
        if reader.one_by_one:
            gathers = self._gathers()
            windows = read_ahead(self._read, gathers, _PINNED_AHEAD) if self._pin_memory else map(self._read, gathers)
        else:
            # One window is handed out while the next is read: two are in memory.
            pieces = order.pieces(reader.window_samples)
            windows = read_ahead(self._read, announce_ahead(pieces, reader.prefetch, 1), 1)
        return cut(windows, order.sizes(), Samples.joined)

    def _gathers(self) -> Iterator[NDArray[np.intp]]:
        """Yield the samples of one read: of a batch, or of several small ones."""
        order, reader = self.sampler, self._reader
        pieces = order.pieces()
        if order.blocks is not None:
            pieces = announce_ahead(pieces, reader.prefetch, _PREFETCHED_AHEAD)
        batches_per_gather = max(1, _GATHERED_BYTES // (reader.bytes_per_sample * order.batch_size))
        sizes = order.sizes()
        gather_sizes = iter(lambda: sum(islice(sizes, batches_per_gather)), 0)
        gathers = cut(pieces, gather_sizes, np.concatenate)
        if order.blocks is None and not self._in_memory:
            gathers = announce_ahead(gathers, reader.prefetch, _PREFETCHED_AHEAD)
        return gathers

    def _read(self, samples: NDArray[np.intp]) -> Samples:
        order = self.sampler
        columns = self._reader.read(samples, order.epoch if order.training else None)
        return Samples(tuple(map(_pinned, columns)) if self._pin_memory else columns)


class ResidentLoader:
    """Keeps all samples of a split in the memory of the device, and gathers batches there.

    Attributes:
        sampler: as in :class:`BatchLoader`.
    """

    batch_sampler = None  # Lightning expects this attribute next to `sampler`

    def __init__(self, reader: SplitReader, order: BatchOrder, device: torch.device) -> None:
        """Copy the split to the device, piece by piece.

        Args:
            reader: reads the split, whose samples all have the same shape.
            order: the samples of each batch.
            device: where to keep the samples.
        """
        self.sampler = order
        self._device = device
        self._batch = reader.spec.batch
        self._columns: list[Tensor] = []
        done = 0
        for piece in map(tensors, reader.pieces(np.arange(len(reader)))):
            if not self._columns:
                self._columns = [torch.empty((len(reader), *c.shape[1:]), dtype=c.dtype, device=device) for c in piece]
            for column, values in zip(self._columns, piece, strict=True):
                column[done : done + len(values)] = values
            done += len(piece[0])

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches like :class:`BatchLoader`, already on the device."""
        # The sample numbers of many batches are copied at once.
        pieces = (torch.from_numpy(piece).to(self._device) for piece in self.sampler.pieces())
        for samples in cut(pieces, self.sampler.sizes(), torch.cat):
            yield self._batch([column.index_select(0, samples) for column in self._columns])


def tensors(columns: Sequence[Values]) -> list[Any]:
    """Convert columns to tensors, or to ``Ragged`` of tensors, of types that torch supports.

    They share memory with the columns where possible.
    """
    return [Ragged(*map(_tensor, column)) if isinstance(column, Ragged) else _tensor(column) for column in columns]


def _tensor(values: NDArray[Any]) -> Tensor:
    converted = _TORCH_TYPES.get(values.dtype)
    return torch.from_numpy(values if converted is None else values.astype(converted))


def _pinned(column: Values) -> Values:
    """Copy to page-locked memory; arrays that view the result are page-locked, too."""
    if isinstance(column, Ragged):
        return Ragged(*(_tensor(part).pin_memory().numpy() for part in column))
    pinned: NDArray[Any] = _tensor(column).pin_memory().numpy()
    return pinned
