"""Where in a file the values of a dataset are stored: HDF5 is queried once."""

from __future__ import annotations

import math
import os
from array import array
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.file_version import Stamp
from hpc_dl.data.storage.filters import Filter, is_installed, obstacle
from hpc_dl.errors import DataError

# A dataset of which less than a hundredth was written holds nothing to learn from.
_MANY_CELLS = 1 << 20
_MOST_UNWRITTEN = 100
_MOST_UNWRITTEN_BYTES = 1 << 30
_MOST_RATIO = 1100  # gzip cannot compress further
_REMEDY = "copy the file again, or create it again"
DAMAGED_REMEDY = f"{_REMEDY}; `hpc-dl data verify` lists all damaged parts"


@dataclass(frozen=True, eq=False)
class ChunkIndex:
    """Where each chunk of a dataset is stored; arrays follow the chunk grid in C order.

    Attributes:
        shape: shape of a chunk; chunks at the edge are stored in full, too.
        grid: number of chunks along each axis.
        filters: the filters that were applied when a chunk was written, in this order.
        fill: the value of chunks that were never written, (1,) of the stored type.
        offsets: byte offset in the file, int64; -1 for a chunk that was never written.
        sizes: stored size in bytes, int64.
        masks: bit i is set where filter i was skipped for the chunk, uint32.
    """

    shape: tuple[int, ...]
    grid: tuple[int, ...]
    filters: tuple[Filter, ...]
    fill: NDArray[Any]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    masks: NDArray[np.uint32]

    def first_element(self, cell: int) -> tuple[int, ...]:
        """Return the position in the dataset at which a chunk of the grid starts.

        HDF5 identifies chunks by it.
        """
        place = np.unravel_index(cell, self.grid)
        return tuple(int(number) * length for number, length in zip(place, self.shape, strict=True))


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the values of a dataset are stored; plain data that can be pickled.

    Exactly one of ``offset``, ``chunks`` and ``by_h5py`` is set.

    Attributes:
        file: real path of the file that holds the dataset, with all links resolved.
        name: path of the dataset in it.
        dtype: type of the values as stored.
        shape: shape of the dataset.
        stamp: the version of the file.
        offset: byte offset of the values if they are contiguous.
        chunks: where the chunks are.
        by_h5py: why only h5py can read the values.
    """

    file: str
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stamp: Stamp
    offset: int | None = None
    chunks: ChunkIndex | None = None
    by_h5py: str = ""

    @property
    def rows_alone(self) -> bool:
        """Whether every row is stored as NumPy holds it, readable without other rows."""
        chunks = self.chunks
        if chunks is None:
            return self.offset is not None
        all_skipped = (1 << len(chunks.filters)) - 1
        plain = (chunks.offsets >= 0).all() and (chunks.masks & all_skipped == all_skipped).all()
        return self.has_whole_rows and bool(plain)

    @property
    def place(self) -> str:
        """``FILE:/dataset``, as errors name it."""
        return f"{self.file}:{self.name}"

    @property
    def row_bytes(self) -> int:
        """The size of one row in memory, in bytes."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def has_whole_rows(self) -> bool:
        """Whether a row of a chunk is exactly one row of the dataset."""
        return self.chunks is not None and self.chunks.shape[1:] == self.shape[1:]

    @property
    def extent(self) -> tuple[int, int]:
        """The offsets of the dataset's first byte in the file and of the byte after its last."""
        if self.offset is not None:
            return self.offset, self.offset + self.row_bytes * self.shape[0]
        assert self.chunks is not None, self.by_h5py
        offsets = self.chunks.offsets
        start = int(offsets[offsets >= 0].min(initial=self.stamp.num_bytes))
        return start, max(start, int((offsets + self.chunks.sizes).max()))


def locate(dataset: h5py.Dataset) -> Layout:
    """Find out where the values of a dataset are stored.

    Raises:
        DataError: the file ends before the values do, the chunk index is damaged, or a filter is
            not installed.
    """
    file = os.path.realpath(dataset.file.filename)
    stamp = Stamp.of(os.stat(file))
    creation = dataset.id.get_create_plist()
    filters = tuple(Filter(*creation.get_filter(number)) for number in range(creation.get_nfilters()))

    def layout(**storage: Any) -> Layout:
        return Layout(file, dataset.name, dataset.dtype, dataset.shape or (), stamp, **storage)

    if reason := _why_by_h5py(dataset, creation, filters):
        _check_installed(f"{file}:{dataset.name}", filters)
        _check_declared_size(f"{file}:{dataset.name}", dataset)
        return layout(by_h5py=reason)
    if creation.get_layout() == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset()
        result = layout(offset=offset)
        if (stored := dataset.id.get_storage_size()) != result.row_bytes * result.shape[0]:
            raise DataError.at(
                result.place,
                "is damaged: its shape and its size in the file contradict each other",
                value=f"{result.shape} of {result.dtype}, but {stored} bytes",
                remedy=_REMEDY,
            )
        _check_end(result, offset + result.row_bytes * result.shape[0], "")
    else:
        result = layout(chunks=_index_chunks(dataset, filters))
        _check_chunks(result)
    if dataset.file.userblock_size and not _agrees_with_hdf5(result, dataset):
        return layout(by_h5py="user block")
    return result


def _why_by_h5py(dataset: h5py.Dataset, creation: h5py.h5p.PropDCID, filters: tuple[Filter, ...]) -> str:
    """Return why only h5py can read a dataset; empty in most cases."""
    if not dataset.shape or dataset.size == 0:
        return "no values"
    if dataset.is_virtual:
        return "virtual dataset"
    if creation.get_external_count():
        return "values in external files"
    # HDF5 converts precisions, paddings and floats for which NumPy has no type.
    as_numpy = dataset.dtype.kind in "biufc"
    if not as_numpy or h5py.h5t.py_create(dataset.dtype, logical=True) != dataset.id.get_type():
        return "a type that HDF5 converts"
    layout = creation.get_layout()
    if layout == h5py.h5d.COMPACT:
        return "values in the header"
    if layout == h5py.h5d.CONTIGUOUS:
        return "no values written yet" if dataset.id.get_offset() is None else ""
    if not hasattr(dataset.id, "chunk_iter"):
        return "this build of h5py does not list chunks"
    return next(filter(None, map(obstacle, filters)), "")


def _check_installed(place: str, filters: tuple[Filter, ...]) -> None:
    for filter_ in filters:
        if not is_installed(filter_.number):
            raise DataError.at(
                place,
                f"is compressed by a filter that is not installed: {filter_.name} (number {filter_.number})",
                remedy="install the filter (`pip install hdf5plugin` has most; for others set HDF5_PLUGIN_PATH "
                "to the folder of the library), or repack the file with `hpc-dl data pack` where it is installed",
            )


def _check_declared_size(place: str, dataset: h5py.Dataset) -> None:
    """Refuse shapes that nothing in the file stands behind; reading them would fill the memory."""
    declared, stored = dataset.dtype.itemsize * (dataset.size or 0), dataset.id.get_storage_size()
    if dataset.is_virtual or dataset.external:
        return
    if declared > max(_MOST_UNWRITTEN_BYTES, _MOST_RATIO * stored):
        raise DataError.at(
            place,
            "declares far more values than the file holds",
            value=f"{dataset.shape} of {dataset.dtype}, but {stored} bytes",
            remedy=_REMEDY,
        )


def _index_chunks(dataset: h5py.Dataset, filters: tuple[Filter, ...]) -> ChunkIndex:
    shape = dataset.chunks
    grid = tuple(-(-length // size) for length, size in zip(dataset.shape, shape, strict=True))
    # A flat array of plain numbers: a list of records would take some 200 bytes per chunk.
    numbers = array("q")
    try:
        # One pass over HDF5's own index. The callback must return a false value, or HDF5 silently
        # stops there.
        dataset.id.chunk_iter(
            lambda chunk: numbers.extend((*chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
        )
    except (RuntimeError, OSError, OverflowError) as error:
        place = f"{dataset.file.filename}:{dataset.name}"
        raise DataError.at(place, f"has a damaged chunk index: {error}", remedy=_REMEDY) from None
    table = np.frombuffer(numbers, np.int64).reshape(-1, len(shape) + 3)
    if problem := _index_problem(table, shape, grid, 0 if filters else math.prod(shape) * dataset.dtype.itemsize):
        place = f"{dataset.file.filename}:{dataset.name}"
        raise DataError.at(place, f"has a damaged chunk index: {problem}", remedy=_REMEDY)
    cells = np.ravel_multi_index(tuple(table[:, : len(shape)].T // np.array(shape)[:, None]), grid)
    offsets = np.full(math.prod(grid), -1, np.int64)
    sizes = np.zeros(len(offsets), np.int64)
    masks = np.zeros(len(offsets), np.uint32)
    offsets[cells], sizes[cells], masks[cells] = table[:, -3], table[:, -2], table[:, -1]
    fill = np.full(1, dataset.fillvalue, dataset.dtype)
    return ChunkIndex(shape, grid, filters, fill, offsets, sizes, masks)


def _index_problem(table: NDArray[np.int64], shape: tuple[int, ...], grid: tuple[int, ...], plain_bytes: int) -> str:
    """Describe what is wrong with a list of chunks; empty if they fit the dataset.

    Args:
        table: (chunks, axes + 3) first element, byte offset, stored size and filter mask of each.
        shape: of a chunk.
        grid: number of chunks along each axis.
        plain_bytes: size of every chunk if there are no filters, else 0.
    """
    corners, offsets, sizes = table[:, : len(shape)], table[:, -3], table[:, -2]
    num_cells = math.prod(grid)
    if num_cells > _MANY_CELLS and len(table) * _MOST_UNWRITTEN < num_cells:
        return f"its shape requires {num_cells} chunks, but only {len(table)} were written"
    if (corners % shape).any() or (corners < 0).any() or (corners // shape >= grid).any():
        return "a chunk is outside of the dataset, or between two places"
    if (offsets < 0).any() or (sizes <= 0).any() or (plain_bytes and (sizes != plain_bytes).any()):
        return "a chunk has an impossible place or size"
    if len(np.unique(corners, axis=0)) < len(corners):
        return "two chunks have the same place in the dataset"
    order = np.argsort(offsets)
    if (offsets[order][:-1] + sizes[order][:-1] > offsets[order][1:]).any():
        return "two chunks overlap in the file"
    return ""


def _check_end(layout: Layout, end: int, subject: str) -> None:
    if end > layout.stamp.num_bytes:
        raise DataError.at(
            layout.place,
            f"is truncated: {subject or 'its values'} would end at byte {end}",
            value=f"file of {layout.stamp.num_bytes} bytes",
            remedy=_REMEDY,
        )


def _check_chunks(layout: Layout) -> None:
    chunks = layout.chunks
    assert chunks is not None
    ends = chunks.offsets + chunks.sizes
    last = int(ends.argmax())
    _check_end(layout, int(ends[last]), f"the chunk at {chunks.first_element(last)}")


def _agrees_with_hdf5(layout: Layout, dataset: h5py.Dataset) -> bool:
    """Whether offsets count from the start of the file.

    Not all versions of HDF5 add the user block to them.
    """
    if layout.chunks is None:
        offset, expected = layout.offset, np.asarray(dataset[:1]).astype(layout.dtype, copy=False).tobytes()
    else:
        written = np.flatnonzero(layout.chunks.offsets >= 0)
        if not len(written):
            return True
        offset = int(layout.chunks.offsets[written[0]])
        expected = dataset.id.read_direct_chunk(layout.chunks.first_element(int(written[0])))[1]
    with open(layout.file, "rb") as file:
        file.seek(offset or 0)
        return file.read(len(expected)) == expected
