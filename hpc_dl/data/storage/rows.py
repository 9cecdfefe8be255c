"""Reading rows of one dataset, a whole batch at a time, in the fastest way that its layout allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.by_h5py import HDF5Rows
from hpc_dl.data.storage.chunked import ChunkedRows
from hpc_dl.data.storage.hdf5 import find_dataset, open_file, where
from hpc_dl.data.storage.layout import Layout, locate
from hpc_dl.data.storage.mapped import MappedChunks, MappedRows
from hpc_dl.data.storage.rawfile import RawFile
from hpc_dl.errors import DataError


class RowReader(Protocol):
    """Gives rows of a dataset; belongs to the process and thread that opened it.

    Attributes:
        layout: shape and type of the dataset, and where it lies.
        rows_together: 1 where any row by itself is read at full speed; else how many neighbors are
            read as one, those of a chunk for example.
        reading: how rows are read, for people: ``mapped``; ``chunks, zstd, decoded by 2 threads``.
    """

    layout: Layout
    rows_together: int
    reading: str

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """These rows (0 to N - 1) in this order, repeats included: a new array (len(rows), …),
        native byte order.

        Raises:
            DataError: the file was changed since it was opened, or a chunk is damaged.
            IndexError: there is no such row.
        """

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """A box out of the last axes of each of these rows.

        Args:
            rows: as in :meth:`take`.
            begins: (len(rows), axes) where each box begins along each of the last axes.
            size: of all boxes, along these axes.

        Returns:
            (len(rows), …, *size), as :meth:`take` gives it.
        """

    def expect(self, rows: NDArray[np.intp]) -> None:
        """Say which rows will be asked for soon, in any order; the system reads ahead, this returns
        at once.
        """

    def load(self) -> None:
        """Have the system read all rows into its memory; returns when it has, or when this is
        closed meanwhile.
        """

    def close(self) -> None:
        """Let go of the file; the reader is of no use afterwards."""


def open_rows(path: str | Path, name: str, *, threads: int = 1) -> RowReader:
    """Open the dataset ``name`` of a file in the fastest way that its layout allows.

    Args:
        path: the file.
        name: path of the dataset in it.
        threads: how many threads decode chunks, the one that calls ``take`` among them.

    Raises:
        DataError: the file or the dataset cannot be opened, is truncated, or needs a filter that is
            not installed.
    """
    # Every read is of whole chunks, each once: HDF5's cache of chunks would only copy them.
    file = open_file(path, chunk_cache_bytes=0)
    try:
        dataset = find_dataset(file, name, "data.inputs")
        if not dataset.shape:
            raise DataError.at(where(dataset), "holds no rows", value=dataset.shape, remedy="name another dataset")
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


def take_span(reader: RowReader, begin: int, end: int) -> NDArray[Any]:
    """Rows ``begin`` to ``end - 1`` as ``take`` gives them, without a list of their numbers where
    that is possible.
    """
    return reader.span(begin, end) if isinstance(reader, MappedRows) else reader.take(np.arange(begin, end))
