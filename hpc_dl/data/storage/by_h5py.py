"""Rows that only HDF5 itself can read: virtual and external data, rare types and filters."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.chunked import Block, blocks_of
from hpc_dl.data.storage.hdf5 import is_from_h5py
from hpc_dl.data.storage.layout import DAMAGED_REMEDY, Layout
from hpc_dl.data.storage.mapped import crops, native
from hpc_dl.errors import DataError

_BLOCK_BYTES = 1 << 20
_SPARSE = 8


class HDF5Rows:
    """Rows read by h5py in blocks; holds HDF5 handles, which no forked process may share."""

    def __init__(self, file: h5py.File, dataset: h5py.Dataset, layout: Layout) -> None:
        """Read the dataset of a layout with ``by_h5py``; ``file`` is closed with the reader."""
        self._file = file
        self._dataset = dataset
        self.layout = layout
        # A read by HDF5 costs as much as copying tens of kilobytes, so neighboring rows are read
        # together.
        rows_per_block = max(1, _BLOCK_BYTES // max(1, layout.row_bytes))
        self._chunked = bool(dataset.chunks)
        chunk_rows = dataset.chunks[0] if self._chunked else 1
        self.rows_together = min(len(dataset), -(-rows_per_block // chunk_rows) * chunk_rows)
        self.reading = f"by h5py: {layout.by_h5py}"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        taken = np.empty((len(rows), *self.layout.shape[1:]), self._dataset.dtype)
        for block in blocks_of(rows, self.rows_together, len(self._dataset)):
            self._read(block, taken)
        return native(taken)

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; reads whole rows."""
        return crops(self.take(rows), np.arange(len(rows)), starts, size)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; HDF5 cannot do this."""

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; HDF5 cannot do this."""

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        del self._dataset  # it would keep the file behind an external link open
        self._file.close()

    def _read(self, block: Block, taken: NDArray[Any]) -> None:
        offset = block.number * self.rows_together
        first, last = int(block.rows.min()), int(block.rows.max())
        try:
            if self._chunked or (last - first + 1) <= _SPARSE * len(block.rows):
                taken[block.positions] = self._dataset[offset + first : offset + last + 1][block.rows - first]
            else:
                for position, row in zip(block.positions.tolist(), block.rows.tolist(), strict=True):
                    taken[position] = self._dataset[offset + row]
        except Exception as error:
            if not is_from_h5py(error):
                raise
            raise DataError.at(
                self.layout.place,
                f"cannot be read: {self._damaged(offset + first, offset + last)}: {error}",
                remedy=DAMAGED_REMEDY,
            ) from None

    def _damaged(self, first: int, last: int) -> str:
        """Describe the first chunk among these rows that HDF5 cannot read."""
        if self._chunked:
            # Explicit bounds: h5py 3.12 does not accept slice(None) here.
            rows = (slice(first, last + 1), *(slice(0, size) for size in self._dataset.shape[1:]))
            for chunk in self._dataset.iter_chunks(rows):
                try:
                    self._dataset[chunk]
                except Exception:  # which one depends on the byte
                    corner = (s.start // size * size for s, size in zip(chunk, self._dataset.chunks, strict=True))
                    return f"the chunk at {tuple(corner)} is damaged"
        return f"rows {first} to {last}"
