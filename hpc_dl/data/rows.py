"""Reading rows of one dataset, a whole batch at a time.

A further way of reading (chunks decoded by threads, say) is one more class here and one more line in ``open_rows``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.hdf5 import find_dataset, open_file


class RowReader(Protocol):
    """Gives rows of a dataset; belongs to the process and thread that opened it."""

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """The rows in the order asked for, repeats included: a new array (len(rows), …) in native byte order."""

    def close(self) -> None:
        """Let go of the file; the reader is of no use afterwards."""


def open_rows(path: str | Path, name: str) -> RowReader:
    """Open the dataset ``name`` of a file in the fastest way that its layout allows.

    Raises:
        DataError: the file or the dataset cannot be opened.
    """
    file = open_file(path)
    try:
        dataset = find_dataset(file, name, "data.inputs")
        if is_mappable(dataset):
            reader = MappedRows(dataset)
            file.close()
            return reader
        return HDF5Rows(file, dataset)
    except BaseException:
        file.close()
        raise


def is_mappable(dataset: h5py.Dataset) -> bool:
    """Whether the values lie in one piece of the file, just as NumPy holds them.

    The offset is None where nothing was written yet, and for external and virtual datasets; a user block before the
    HDF5 content shifts offsets, not in the same way in all versions of HDF5.
    """
    return (
        dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        and dataset.id.get_offset() is not None
        and dataset.file.userblock_size == 0
        and dataset.dtype.isnative
        and dataset.dtype.kind in "biuf"
        and dataset.size > 0
    )


class MappedRows:
    """Rows gathered from a memory map of the file; holds no HDF5 handle, so threads and forks are safe."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        # The dataset's own file: an external link may have led to another one than was opened.
        mapped = np.memmap(
            dataset.file.filename, dataset.dtype, mode="r", offset=dataset.id.get_offset(), shape=dataset.shape
        )
        # A plain array over the same memory: np.memmap's bookkeeping for each result costs more than a small batch.
        self._rows: NDArray[Any] = mapped.view(np.ndarray)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`RowReader`."""
        return self._rows.take(rows, axis=0)

    def close(self) -> None:
        """See :class:`RowReader`; the map goes with the last array that refers to it."""
        self._rows = self._rows[:0].copy()


class HDF5Rows:
    """Rows read by h5py, for chunked, compressed, foreign-endian, virtual and external datasets."""

    def __init__(self, file: h5py.File, dataset: h5py.Dataset) -> None:
        self._file = file
        self._dataset = dataset

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`RowReader`."""
        # h5py wants ascending rows without repeats, and reads a gapless stretch much faster as a slice.
        wanted, position = np.unique(rows, return_inverse=True)
        gapless = len(wanted) and wanted[-1] - wanted[0] + 1 == len(wanted)
        values = self._dataset[slice(wanted[0], wanted[-1] + 1) if gapless else wanted]
        return np.ascontiguousarray(values[position], values.dtype.newbyteorder("="))

    def close(self) -> None:
        """See :class:`RowReader`."""
        self._file.close()
