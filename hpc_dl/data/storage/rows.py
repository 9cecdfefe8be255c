"""Reading rows of one dataset, a whole batch at a time, in the fastest way its layout allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.by_h5py import HDF5Rows
from hpc_dl.data.storage.chunked import ChunkedRows
from hpc_dl.data.storage.hdf5 import find_dataset, open_file, reports_damage, where
from hpc_dl.data.storage.layout import Layout, locate
from hpc_dl.data.storage.mapped import MappedChunks, MappedRows
from hpc_dl.data.storage.rawfile import RawFile
from hpc_dl.errors import DataError


class RowReader(Protocol):
    """Reads rows of a dataset; belongs to the process and thread that opened it.

    Attributes:
        layout: shape, type and storage of the dataset.
        rows_together: 1 if any single row is read at full speed; otherwise the number of neighbors
            that are read as one, such as those of a chunk.
        reading: how rows are read, for display: ``mapped``; ``chunks, zstd, decoded by 2 threads``.
    """

    layout: Layout
    rows_together: int
    reading: str

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return these rows (0 to N - 1) in this order, repeats included.

        Returns:
            A new array (len(rows), …) in native byte order.

        Raises:
            DataError: the file was changed since it was opened, or a chunk is damaged.
            IndexError: a row does not exist.
        """

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """Return a crop of the last axes of each of these rows.

        Args:
            rows: as in :meth:`take`.
            starts: (len(rows), axes) where each crop starts along each of the last axes.
            size: of all crops, along these axes.

        Returns:
            (len(rows), …, *size), as :meth:`take` returns it.
        """

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """Announce rows that will be read soon, in any order; returns at once.

        The system reads them ahead.
        """

    def preload(self) -> None:
        """Have the system read all rows into its page cache.

        Returns when it is done, or when the reader is closed meanwhile.
        """

    def close(self) -> None:
        """Close the file; the reader cannot be used afterward."""


@reports_damage
def open_rows(path: str | Path, name: str, *, threads: int = 1) -> RowReader:
    """Open a dataset in the fastest way that its layout allows.

    Args:
        path: the file.
        name: path of the dataset in it.
        threads: number of threads that decode chunks, the one that calls ``take`` included.

    Raises:
        DataError: the file or the dataset cannot be opened, is truncated, or needs a filter that is
            not installed.
    """
    # Each chunk is read whole and once, so HDF5's chunk cache would only add a copy.
    file = open_file(path, chunk_cache_bytes=0)
    try:
        dataset = find_dataset(file, name, "data.inputs")
        if not dataset.shape:
            raise DataError.at(where(dataset), "contains no rows", value=dataset.shape, remedy="choose another dataset")
        layout = locate(dataset)
        if layout.by_h5py:
            return HDF5Rows(file, dataset, layout)
    except BaseException:
        file.close()
        raise
    file.close()
    raw = RawFile(layout)
    if layout.offset is not None:
        return MappedRows(layout, raw)
    if layout.rows_alone and raw.content is not None:
        return MappedChunks(layout, raw)
    return ChunkedRows(layout, raw, threads)


def take_span(reader: RowReader, start: int, end: int) -> NDArray[Any]:
    """Return the rows ``start`` to ``end - 1`` like ``take``.

    Mapped rows are copied without a list of their numbers.
    """
    return reader.span(start, end) if isinstance(reader, MappedRows) else reader.take(np.arange(start, end))
