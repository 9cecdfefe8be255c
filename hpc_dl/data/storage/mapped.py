"""Rows that lie in the file just as NumPy holds them: one gather from a map of the file."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.rawfile import RawFile

# Fewer bytes are moved before another thread is at work, or many more where threads are told to
# sleep as they wait.
_SHARED_BYTES = 256 << 10
_SLEEPY = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


class MappedRows:
    """Rows of a dataset that lies in one piece."""

    rows_together = 1

    def __init__(self, layout: Layout, file: RawFile) -> None:
        """Read a layout with an ``offset``; ``file`` is closed with the reader."""
        assert layout.offset is not None
        self.layout = layout
        self._offset = layout.offset
        self._file = file
        self._rows: NDArray[Any] | None = None
        self._tensor: Any = None
        self.reading = "read row by row"
        if self._file.content is not None:
            # Not np.memmap: its bookkeeping for each result costs more than a small batch.
            self._rows = self._file.content.view(layout.dtype).reshape(layout.shape)
            self.reading = "mapped"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        if self._rows is None:
            return native(self._read(rows))
        if len(rows) * self.layout.row_bytes < _SHARED_BYTES:
            return native(self._rows.take(rows, axis=0))
        return native(self._take_in_threads(rows))

    def span(self, begin: int, end: int) -> NDArray[Any]:
        """Consecutive rows, ``begin`` to ``end - 1``."""
        if self._rows is None:
            return self.take(np.arange(begin, end))
        self._file.check()
        return native(self._rows[begin:end].copy())

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; nothing else is read, where there is a
        map.
        """
        if self._rows is None:
            return boxes(self.take(rows), np.arange(len(rows)), begins, size)
        self._file.check()
        return native(boxes(self._rows, rows, begins, size))

    def expect(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        starts = self._offset + np.asarray(rows, np.int64) * self.layout.row_bytes
        self._file.expect(starts, starts + self.layout.row_bytes)

    def load(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.load()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = self._tensor = None
        self._file.close()

    def _take_in_threads(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """By torch, whose threads share the work, where it is imported: nobody else waits seconds
        for it.
        """
        assert self._rows is not None
        torch: Any = sys.modules.get("torch")
        if _SLEEPY or torch is None or torch.get_num_threads() == 1:
            return self._rows.take(rows, axis=0)
        if self._tensor is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it must not be written to
                self._tensor = torch.from_numpy(self._rows.reshape(len(self._rows), -1).view(np.uint8))
        taken = np.empty((len(rows), self.layout.row_bytes), np.uint8)  # NumPy puts large ones on large pages
        torch.index_select(self._tensor, 0, torch.from_numpy(rows), out=torch.from_numpy(taken))
        return taken.view(self.layout.dtype).reshape(len(rows), *self.layout.shape[1:])

    def _read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        taken = np.empty((len(rows), *self.layout.shape[1:]), self.layout.dtype)
        as_bytes = taken.reshape(len(rows), -1).view(np.uint8)
        for place, row in enumerate(rows.tolist()):
            self._file.read_into(as_bytes[place], self._offset + row * self.layout.row_bytes)
        return taken


class MappedChunks:
    """Whole rows in chunks that are not compressed: they begin anywhere, and one gather gets them
    all the same.
    """

    rows_together = 1
    reading = "chunks, not compressed, mapped"

    def __init__(self, layout: Layout, file: RawFile) -> None:
        """Read chunks of a layout with ``rows_alone``; ``file`` is closed with the reader."""
        assert layout.chunks is not None and file.content is not None
        self.layout = layout
        self._file = file
        self._chunk_rows = layout.chunks.shape[0]
        self._offsets = layout.chunks.offsets
        # An array in which every byte begins a row. Rows are moved as if they were single values of
        # that many bytes.
        row_type = np.dtype((np.void, layout.row_bytes))
        num_rows = max(0, len(file.content) - layout.row_bytes + 1)
        self._rows: NDArray[Any] | None = np.ndarray((num_rows,), row_type, file.content.data, strides=(1,))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        assert self._rows is not None, "closed"
        check_rows(rows, self.layout.shape[0])
        taken = self._rows[self._offsets_of(rows) - self._file.start]
        return native(taken.view(self.layout.dtype).reshape(len(rows), *self.layout.shape[1:]))

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; whole rows are read for it."""
        return boxes(self.take(rows), np.arange(len(rows)), begins, size)

    def expect(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        starts = self._offsets_of(rows)
        self._file.expect(starts, starts + self.layout.row_bytes)

    def load(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.load()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = None
        self._file.close()

    def _offsets_of(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        chunks, within = np.divmod(rows, self._chunk_rows)
        offsets: NDArray[np.int64] = self._offsets[chunks] + within * self.layout.row_bytes
        return offsets


def boxes(
    rows: NDArray[Any], places: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]
) -> NDArray[Any]:
    """A box out of the last axes of each of some rows, beginning at ``begins`` (B, axes): (B, …,
    *size).
    """
    kept = rows.shape[1 : rows.ndim - len(size)]
    found = np.empty((len(places), *kept, *size), rows.dtype)
    for box, place, begin in zip(found, places.tolist(), begins.tolist(), strict=True):
        box[...] = rows[(place, ..., *(slice(at, at + length) for at, length in zip(begin, size, strict=True)))]
    return found


def check_rows(rows: NDArray[np.intp], num_rows: int) -> None:
    """Raise IndexError when a row is not one of 0 to ``num_rows - 1``."""
    if len(rows) and (rows.min() < 0 or rows.max() >= num_rows):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {num_rows}")


def native(values: NDArray[Any]) -> NDArray[Any]:
    """The values in this machine's byte order; an array that is nobody else's is turned in place."""
    if values.dtype.isnative:
        return values
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
