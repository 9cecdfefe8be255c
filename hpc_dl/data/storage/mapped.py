"""Rows that the file holds exactly as NumPy does: one gather from a memory map."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.rawfile import RawFile

# Below this size a batch is copied before a second thread has started. With a passive wait policy,
# where idle threads sleep, starting takes even longer.
_SHARED_BYTES = 256 << 10
_THREADS_SLEEP = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"


class MappedRows:
    """Rows of a contiguous dataset."""

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
            # Not np.memmap: its bookkeeping per result costs more than a small batch.
            self._rows = self._file.content.view(layout.dtype).reshape(layout.shape)
            self.reading = "mapped"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        if self._rows is None:
            return native(self._read(rows))
        in_threads = len(rows) * self.layout.row_bytes >= _SHARED_BYTES
        taken = self._take_in_threads(rows) if in_threads else self._rows.take(rows, axis=0)
        self._file.check_taken()
        return native(taken)

    def span(self, start: int, end: int) -> NDArray[Any]:
        """Return the rows ``start`` to ``end - 1``."""
        if self._rows is None:
            return self.take(np.arange(start, end))
        self._file.check()
        taken = self._rows[start:end].copy()
        self._file.check_taken()
        return native(taken)

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; a map is read only inside the crops."""
        if self._rows is None:
            return crops(self.take(rows), np.arange(len(rows)), starts, size)
        self._file.check()
        taken = crops(self._rows, rows, starts, size)
        self._file.check_taken()
        return native(taken)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        starts = self._offset + np.asarray(rows, np.int64) * self.layout.row_bytes
        self._file.prefetch(starts, starts + self.layout.row_bytes)

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.preload()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = self._tensor = None
        self._file.close()

    def _take_in_threads(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Gather rows with torch's threads if the process has imported torch.

        It is not imported just for this: that takes seconds.
        """
        assert self._rows is not None
        torch: Any = sys.modules.get("torch")
        if _THREADS_SLEEP or torch is None or torch.get_num_threads() == 1:
            return self._rows.take(rows, axis=0)
        if self._tensor is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns that the map is read-only
                self._tensor = torch.from_numpy(self._rows.reshape(len(self._rows), -1).view(np.uint8))
        taken = np.empty((len(rows), self.layout.row_bytes), np.uint8)  # NumPy uses huge pages for large arrays
        torch.index_select(self._tensor, 0, torch.from_numpy(rows), out=torch.from_numpy(taken))
        return taken.view(self.layout.dtype).reshape(len(rows), *self.layout.shape[1:])

    def _read(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        taken = np.empty((len(rows), *self.layout.shape[1:]), self.layout.dtype)
        as_bytes = taken.reshape(len(rows), -1).view(np.uint8)
        for position, row in enumerate(rows.tolist()):
            self._file.read_into(as_bytes[position], self._offset + row * self.layout.row_bytes)
        return taken


class MappedChunks:
    """Whole rows in uncompressed chunks.

    Chunks may start anywhere in the file; one gather reads rows from all of them.
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
        # An array in which a row starts at every byte. Rows are moved as single values of that many
        # bytes.
        row_type = np.dtype((np.void, layout.row_bytes))
        num_rows = max(0, len(file.content) - layout.row_bytes + 1)
        self._rows: NDArray[Any] | None = np.ndarray((num_rows,), row_type, file.content.data, strides=(1,))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        assert self._rows is not None, "closed"
        check_rows(rows, self.layout.shape[0])
        taken = self._rows[self._offsets_of(rows) - self._file.start]
        self._file.check_taken()
        return native(taken.view(self.layout.dtype).reshape(len(rows), *self.layout.shape[1:]))

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; reads whole rows."""
        return crops(self.take(rows), np.arange(len(rows)), starts, size)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        starts = self._offsets_of(rows)
        self._file.prefetch(starts, starts + self.layout.row_bytes)

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.preload()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = None
        self._file.close()

    def _offsets_of(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        chunks, within = np.divmod(rows, self._chunk_rows)
        offsets: NDArray[np.int64] = self._offsets[chunks] + within * self.layout.row_bytes
        return offsets


def crops(
    rows: NDArray[Any], numbers: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]
) -> NDArray[Any]:
    """Return a crop of the last axes of some rows: (B, …, *size).

    Args:
        rows: all rows.
        numbers: (B,) the rows to crop.
        starts: (B, axes) where each crop starts.
        size: of all crops, along the last axes.
    """
    kept = rows.shape[1 : rows.ndim - len(size)]
    result = np.empty((len(numbers), *kept, *size), rows.dtype)
    for crop, number, start in zip(result, numbers.tolist(), starts.tolist(), strict=True):
        crop[...] = rows[(number, ..., *(slice(at, at + length) for at, length in zip(start, size, strict=True)))]
    return result


def check_rows(rows: NDArray[np.intp], num_rows: int) -> None:
    """Raise IndexError unless all rows are within 0 to ``num_rows - 1``."""
    if len(rows) and (rows.min() < 0 or rows.max() >= num_rows):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {num_rows}")


def native(values: NDArray[Any]) -> NDArray[Any]:
    """Convert values to this machine's byte order; swaps in place, so no one else may use them."""
    if values.dtype.isnative:
        return values
    return values.byteswap(inplace=True).view(values.dtype.newbyteorder("="))
