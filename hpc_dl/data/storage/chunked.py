"""Rows of chunked data: each chunk that is touched is decoded once, by several threads."""

from __future__ import annotations

import itertools
import math
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.filters import CannotDecode, Pipeline
from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.mapped import boxes, check_rows, native
from hpc_dl.data.storage.rawfile import RawFile
from hpc_dl.errors import DataError

_REUSED_BYTES = 1 << 20
_REUSED_BLOCKS = 3  # one given out, one being read, one that the user looks at still


class Block(NamedTuple):
    """The rows wanted of one row of chunks.

    Attributes:
        number: which row of chunks.
        rows: the rows within it.
        places: where they belong in the result.
    """

    number: int
    rows: NDArray[np.intp]
    places: NDArray[np.intp]


def blocks_of(rows: NDArray[np.intp], rows_together: int, num_rows: int) -> Iterator[Block]:
    """Sort rows by the row of chunks that they lie in.

    Raises:
        IndexError: there is no such row.
    """
    if len(rows) == 0:
        return
    check_rows(rows, num_rows)
    numbers, within = np.divmod(rows, rows_together)
    keys = numbers - numbers.min()
    # NumPy sorts 16 bits by counting, ten times as fast as wider integers.
    order = np.argsort(keys.astype(np.uint16) if keys.max() < 1 << 16 else keys, kind="stable")
    numbers, within = numbers[order], within[order]
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
    for start, end in itertools.pairwise(starts):
        yield Block(int(numbers[start]), within[start:end], order[start:end])


class _Memory:
    """Memory for one window of rows after another, used again when nobody holds an array in it any
    more.

    malloc, asked for some large arrays by turns, would keep twice what is in use, and touching new
    memory takes as long as the faster decoders.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of any content."""
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < _REUSED_BYTES:
            return np.empty(shape, dtype)
        return self._free(num_bytes)[:num_bytes].view(dtype).reshape(shape)

    def _free(self, num_bytes: int) -> NDArray[np.uint8]:
        for block in self._blocks:
            # The list, the variable and the argument: every array in it would be one more.
            if len(block) >= num_bytes and sys.getrefcount(block) == 3:
                return block
        # The next window may be a little larger.
        block = np.empty(-(-num_bytes // _REUSED_BYTES) * _REUSED_BYTES, np.uint8)
        self._blocks = [*self._blocks[-_REUSED_BLOCKS + 1 :], block]
        return block


class ChunkedRows:
    """Rows of a dataset whose chunks can be decoded without HDF5."""

    def __init__(self, layout: Layout, file: RawFile, threads: int) -> None:
        """Read a layout with ``chunks``, decoding in ``threads`` threads, the caller's among them.

        ``file`` is closed with the reader.
        """
        chunks = layout.chunks
        assert chunks is not None
        self.layout = layout
        self._file = file
        self._chunks = chunks
        self._columns = math.prod(chunks.grid[1:])
        self._row_type = np.dtype((np.void, layout.row_bytes))
        self._pipeline = Pipeline(chunks.filters, math.prod(chunks.shape) * layout.dtype.itemsize)
        self._threads = threads
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), "decoder")  # starts no thread before it is needed
        self._memory = _Memory()
        self.rows_together = chunks.shape[0]
        names = ", ".join(filter_.name for filter_ in chunks.filters)
        by = f"decoded by {threads} threads" if threads > 1 else "decoded by 1 thread"
        self.reading = f"chunks, {names}, {by}" if names else "chunks, not compressed"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        taken = self._memory.array((len(rows), *self.layout.shape[1:]), self.layout.dtype)
        jobs = list(blocks_of(rows, self.rows_together, self.layout.shape[0]))
        if self._threads == 1 or len(jobs) < 2:
            self._work(deque(jobs), taken)
            return native(taken)
        try:
            self._work_together(deque(jobs), taken)
        except DataError:
            # Blosc2 may fail on a sound chunk while another thread decodes a damaged one: ask
            # again, alone.
            self._work(deque(jobs), taken)
        return native(taken)

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; whole rows are read for it."""
        return boxes(self.take(rows), np.arange(len(rows)), begins, size)

    def expect(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        blocks = np.unique(np.asarray(rows, np.int64) // self.rows_together)
        cells = (blocks[:, None] * self._columns + np.arange(self._columns)).ravel()
        cells = cells[self._chunks.offsets[cells] >= 0]
        starts = self._chunks.offsets[cells]
        self._file.expect(starts, starts + self._chunks.sizes[cells])

    def load(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.load()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._helpers.shutdown()
        self._file.close()

    def _work_together(self, jobs: deque[Block], taken: NDArray[Any]) -> None:
        helpers = [self._helpers.submit(self._work, jobs, taken) for _ in range(self._threads - 1)]
        try:
            self._work(jobs, taken)
        finally:
            # One that has not begun is not needed any more. (After a fork it would never begin.)
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()

    def _work(self, jobs: deque[Block], taken: NDArray[Any]) -> None:
        """Decode chunks until none is left; several threads share the jobs."""
        while jobs:
            try:
                job = jobs.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                for column in range(self._columns):
                    self._take_from(job.number * self._columns + column, job, taken)
            except BaseException:
                jobs.clear()  # the others need not go on
                raise

    def _take_from(self, cell: int, block: Block, taken: NDArray[Any]) -> None:
        """Decode one chunk, and bring its part of the rows to their places."""
        chunks = self._chunks
        if self.layout.has_whole_rows and chunks.offsets[cell] >= 0:
            # Whole rows are moved as if they were single values of that many bytes: one plain copy
            # for each.
            values = self._decoded(cell).view(self._row_type)
            taken.reshape(len(taken), -1).view(self._row_type)[:, 0][block.places] = values[block.rows]
            return
        first = chunks.first_element(cell)
        # A chunk at the edge holds more than the dataset does.
        ends = [min(start + size, end) for start, size, end in zip(first, chunks.shape, self.layout.shape, strict=True)]
        columns: tuple[Any, ...] = tuple(slice(start, end) for start, end in zip(first[1:], ends[1:], strict=True))
        if chunks.offsets[cell] < 0:
            taken[(block.places, *columns)] = chunks.fill[0]
            return
        values = self._decoded(cell).view(self.layout.dtype).reshape(chunks.shape)
        inside: tuple[Any, ...] = tuple(slice(end - start) for start, end in zip(first[1:], ends[1:], strict=True))
        taken[(block.places, *columns)] = values[(block.rows, *inside)]

    def _decoded(self, cell: int) -> NDArray[np.uint8]:
        chunks = self._chunks
        num_bytes = int(chunks.sizes[cell])
        stored = self._file.read(int(chunks.offsets[cell]), num_bytes)
        try:
            return self._pipeline.decode(stored, int(chunks.masks[cell]))
        except CannotDecode as error:
            first = chunks.first_element(cell)
            at_edge = any(s + n > end for s, n, end in zip(first, chunks.shape, self.layout.shape, strict=True))
            if at_edge and num_bytes == self._pipeline.num_bytes:
                # H5Pset_chunk_opts lets a writer leave chunks at the edge as they are, without a
                # mark on them.
                return stored
            raise DataError.at(
                self.layout.place,
                f"cannot be read: the chunk at {first} is damaged: {error}",
                remedy="copy or make the file again (`hpc-dl data verify` lists all that is damaged)",
            ) from None
