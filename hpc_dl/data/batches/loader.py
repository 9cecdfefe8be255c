"""Batches of one split, in the DataLoader's place: one operation for each batch, or for a window of
many.

No worker processes, nothing done per sample, nothing to collate. Lightning takes any iterable that
has a length.
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

from hpc_dl.data.batches.read_ahead import announced, read_ahead
from hpc_dl.data.files.fields import Values
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.order.batch_order import BatchOrder, cut
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.storage.available_memory import stays_in_memory

#: ``(x, y)``, or each column by its name where there are several inputs or targets.
Batch = tuple[Any, Any] | dict[str, Any]

# Types that torch lacks or hardly supports, and the next that holds all their values; float64 to
# halve the transfer.
_TORCH_TYPES = {
    np.dtype(stored): np.dtype(wanted)
    for stored, wanted in {
        "bool": "uint8",
        "uint16": "int32",
        "uint32": "int64",
        "uint64": "float32",
        "float64": "float32",
    }.items()
}
_PINNED_AHEAD = 2
_ANNOUNCED_AHEAD = 4  # windows or gathers
_LOADED_FIRST_BYTES = 256 << 20  # a tenth of a second
# Small batches are gathered some at a time, and given out while they are in the processor's cache.
_GATHERED_BYTES = 512 << 10


@dataclass(slots=True)
class Samples:
    """Samples as columns: one for each dataset, all of one length. Slices are views."""

    columns: tuple[Values, ...]

    def __len__(self) -> int:
        """Samples, not columns."""
        first = self.columns[0]
        return len(first.offsets) - 1 if isinstance(first, Ragged) else len(first)

    def __getitem__(self, part: slice) -> Samples:
        """Consecutive samples."""
        return Samples(tuple([c.part(part) if isinstance(c, Ragged) else c[part] for c in self.columns]))

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """Some one after another."""
        together = zip(*(part.columns for part in parts), strict=True)
        return Samples(tuple(Ragged.joined(c) if isinstance(c[0], Ragged) else np.concatenate(c) for c in together))


class BatchLoader:
    """Reads batches as they are asked for, or ahead of it.

    Rows that can be read one by one are gathered batch by batch, at the moment when they are asked
    for: a thread would cost more than it saves. Where chunks must be decoded, a background thread
    reads the next window of samples while the batches of this one are given out as slices of it.
    For a GPU, batches are read ahead in any case, and pinned.

    Attributes:
        sampler: the order. Lightning tells it the epoch (by this name); its position counts from
            the first batch that is asked for, not from the moment when the iterator is made.
    """

    batch_sampler = None  # where there is a `sampler`, Lightning asks for it as well

    def __init__(self, reader: SplitReader, order: BatchOrder, *, pin_memory: bool = False) -> None:
        """Describe the batches; nothing is opened or read yet.

        Args:
            reader: reads the split; it serves this loader only.
            order: the samples of each batch.
            pin_memory: put the batches into page-locked memory, from where a GPU fetches them by
                itself.
        """
        self.sampler = order
        self._reader = reader
        self._pin_memory = pin_memory
        self._in_memory: bool | None = None

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Inputs as stored, and targets, of each batch from ``sampler.start_batch`` on."""
        batch = self._reader.spec.batch
        for samples in self._samples():
            yield batch(tensors(samples.columns))

    def _samples(self) -> Iterator[Samples]:
        order, reader = self.sampler, self._reader
        if order.blocks is None and self._in_memory is None:
            # Single rows are wanted from all over the file: a disk is fastest from its beginning
            # on.
            num_bytes = len(reader) * reader.bytes_per_sample
            self._in_memory = stays_in_memory(num_bytes)
            if num_bytes <= _LOADED_FIRST_BYTES and self._in_memory:
                reader.load()
            elif self._in_memory:
                threading.Thread(target=reader.load, name="load", daemon=True).start()
        if reader.one_by_one:
            gathers = self._gathers()
            windows = read_ahead(self._read, gathers, _PINNED_AHEAD) if self._pin_memory else map(self._read, gathers)
        else:
            # One window is given out while one is being read: two are in memory.
            stretches = order.stretches(reader.window_samples)
            windows = read_ahead(self._read, announced(stretches, reader.expect, 1), 1)
        return cut(windows, order.sizes(), Samples.joined)

    def _gathers(self) -> Iterator[NDArray[np.intp]]:
        """What is gathered in one operation: a batch, or some small ones."""
        order, reader = self.sampler, self._reader
        stretches = order.stretches()
        if order.blocks is not None:
            stretches = announced(stretches, reader.expect, _ANNOUNCED_AHEAD)
        together = max(1, _GATHERED_BYTES // (reader.bytes_per_sample * order.batch_size))
        sizes = order.sizes()
        groups = iter(lambda: sum(islice(sizes, together)), 0)
        gathers = cut(stretches, groups, np.concatenate)
        if order.blocks is None and not self._in_memory:
            gathers = announced(gathers, reader.expect, _ANNOUNCED_AHEAD)
        return gathers

    def _read(self, samples: NDArray[np.intp]) -> Samples:
        order = self.sampler
        columns = self._reader.read(samples, order.epoch if order.shuffle else None)
        return Samples(tuple(map(_pinned, columns)) if self._pin_memory else columns)


class ResidentLoader:
    """All samples of a split in the memory of the device; a batch is gathered there.

    Attributes:
        sampler: as in :class:`BatchLoader`.
    """

    batch_sampler = None  # where there is a `sampler`, Lightning asks for it as well

    def __init__(self, reader: SplitReader, order: BatchOrder, device: torch.device) -> None:
        """Copy the split to the device, in pieces.

        Args:
            reader: reads the split, whose samples are all of one shape.
            order: the samples of each batch.
            device: where the samples are kept.
        """
        self.sampler = order
        self._device = device
        self._batch = reader.spec.batch
        self._whole: list[Tensor] = []
        done = 0
        for piece in map(tensors, reader.pieces(np.arange(len(reader)))):
            if not self._whole:
                self._whole = [torch.empty((len(reader), *c.shape[1:]), dtype=c.dtype, device=device) for c in piece]
            for whole, column in zip(self._whole, piece, strict=True):
                whole[done : done + len(column)] = column
            done += len(piece[0])

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Batches as :class:`BatchLoader` gives them, already on the device."""
        # The numbers of many batches travel at once.
        stretches = (torch.from_numpy(stretch).to(self._device) for stretch in self.sampler.stretches())
        for samples in cut(stretches, self.sampler.sizes(), torch.cat):
            yield self._batch([column.index_select(0, samples) for column in self._whole])


def tensors(columns: Sequence[Values]) -> list[Any]:
    """Tensors, or ``Ragged`` of tensors, of types that torch has; the same memory where that is
    possible.
    """
    return [Ragged(*map(_tensor, column)) if isinstance(column, Ragged) else _tensor(column) for column in columns]


def _tensor(values: NDArray[Any]) -> Tensor:
    wanted = _TORCH_TYPES.get(values.dtype)
    return torch.from_numpy(values if wanted is None else values.astype(wanted))


def _pinned(column: Values) -> Values:
    """A copy in page-locked memory; arrays that view it are page-locked, too."""
    if isinstance(column, Ragged):
        return Ragged(*(_tensor(part).pin_memory().numpy() for part in column))
    pinned: NDArray[Any] = _tensor(column).pin_memory().numpy()
    return pinned
