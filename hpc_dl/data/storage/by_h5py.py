"""Rows that only HDF5 itself can read: virtual and external data, rare types and filters."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.chunked import Block, blocks_of
from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.mapped import boxes, native
from hpc_dl.errors import DataError

_BLOCK_BYTES = 1 << 20
_SPARSE = 8


class HDF5Rows:
    """Rows read by h5py in stretches; holds HDF5 handles, which no fork may share."""

    def __init__(self, file: h5py.File, dataset: h5py.Dataset, layout: Layout) -> None:
        """Read a layout with ``by_h5py`` from its dataset; ``file`` is closed with the reader."""
        self._file = file
        self._dataset = dataset
        self.layout = layout
        # A read by HDF5 costs as much as copying some ten kilobytes: what lies together is read
        # together.
        at_once = max(1, _BLOCK_BYTES // max(1, layout.row_bytes))
        self._chunked = bool(dataset.chunks)
        chunk_rows = dataset.chunks[0] if self._chunked else 1
        self.rows_together = min(len(dataset), -(-at_once // chunk_rows) * chunk_rows)
        self.reading = f"by h5py: {layout.by_h5py}"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        taken = np.empty((len(rows), *self.layout.shape[1:]), self._dataset.dtype)
        for block in blocks_of(rows, self.rows_together, len(self._dataset)):
            self._read(block, taken)
        return native(taken)

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; whole rows are read for it."""
        return boxes(self.take(rows), np.arange(len(rows)), begins, size)

    def expect(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; HDF5 has no way to read ahead."""

    def load(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; HDF5 has no way to do so."""

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        del self._dataset  # keeps the file behind an external link open
        self._file.close()

    def _read(self, block: Block, taken: NDArray[Any]) -> None:
        offset = block.number * self.rows_together
        first, last = int(block.rows.min()), int(block.rows.max())
        try:
            if self._chunked or (last - first + 1) <= _SPARSE * len(block.rows):
                taken[block.places] = self._dataset[offset + first : offset + last + 1][block.rows - first]
            else:
                for place, row in zip(block.places.tolist(), block.rows.tolist(), strict=True):
                    taken[place] = self._dataset[offset + row]
        except OSError as error:
            raise DataError.at(
                self.layout.place,
                f"cannot be read: {self._damaged(offset + first, offset + last)}: {error}",
                remedy="copy or make the file again (`hpc-dl data verify` lists all that is damaged)",
            ) from None

    def _damaged(self, first: int, last: int) -> str:
        """The first chunk among these rows that HDF5 cannot read, in words."""
        if self._chunked:
            for chunk in self._dataset.iter_chunks((slice(first, last + 1), *[slice(None)] * (self._dataset.ndim - 1))):
                try:
                    self._dataset[chunk]
                except OSError:
                    corner = (s.start // size * size for s, size in zip(chunk, self._dataset.chunks, strict=True))
                    return f"the chunk at {tuple(corner)} is damaged"
        return f"rows {first} to {last}"
