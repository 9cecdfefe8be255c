"""Rows of chunked data: each chunk is decoded once per batch or window, by several threads."""

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

from hpc_dl.data.storage.compiled_filters import CannotDecode
from hpc_dl.data.storage.filters import Pipeline
from hpc_dl.data.storage.layout import DAMAGED_REMEDY, Layout
from hpc_dl.data.storage.mapped import check_rows, crops, native
from hpc_dl.data.storage.rawfile import RawFile
from hpc_dl.errors import DataError

_REUSED_BYTES = 1 << 20
_REUSED_BLOCKS = 3  # one handed out, one being read, one that the caller still uses


class Block(NamedTuple):
    """The requested rows that share one row of chunks.

    Attributes:
        number: of the row of chunks.
        rows: the rows within it.
        positions: their positions in the result.
    """

    number: int
    rows: NDArray[np.intp]
    positions: NDArray[np.intp]


def blocks_of(rows: NDArray[np.intp], rows_together: int, num_rows: int) -> Iterator[Block]:
    """Group rows by the row of chunks that holds them.

    Raises:
        IndexError: a row does not exist.
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


class _WindowMemory:
    """Memory for one window of rows after another, reused once no array refers to it.

    With malloc, alternating large arrays would take twice the memory in use, and touching new
    memory takes as long as the faster decoders.
    """

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an uninitialized array."""
        num_bytes = math.prod(shape) * dtype.itemsize
        if num_bytes < _REUSED_BYTES:
            return np.empty(shape, dtype)
        return self._free(num_bytes)[:num_bytes].view(dtype).reshape(shape)

    def _free(self, num_bytes: int) -> NDArray[np.uint8]:
        for block in self._blocks:
            # References: the list, the variable and the argument. An array that views it adds one.
            if len(block) >= num_bytes and sys.getrefcount(block) == 3:
                return block
        # Round up, since the next window may be a little larger.
        block = np.empty(-(-num_bytes // _REUSED_BYTES) * _REUSED_BYTES, np.uint8)
        self._blocks = [*self._blocks[-_REUSED_BLOCKS + 1 :], block]
        return block


class ChunkedRows:
    """Rows of a dataset whose chunks can be decoded without HDF5."""

    def __init__(self, layout: Layout, file: RawFile, threads: int) -> None:
        """Read a layout with ``chunks``, decoding in ``threads`` threads, the caller's included.

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
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), "decoder")  # starts threads only when needed
        self._memory = _WindowMemory()
        self.rows_together = chunks.shape[0]
        names = ", ".join(filter_.name for filter_ in chunks.filters)
        decoding = f"decoded by {threads} threads" if threads > 1 else "decoded by 1 thread"
        self.reading = f"chunks, {names}, {decoding}" if names else "chunks, not compressed"

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.check()
        taken = self._memory.array((len(rows), *self.layout.shape[1:]), self.layout.dtype)
        jobs = list(blocks_of(rows, self.rows_together, self.layout.shape[0]))
        if self._threads == 1 or len(jobs) < 2:
            self._work(deque(jobs), taken)
        else:
            try:
                self._work_together(deque(jobs), taken)
            except DataError:
                # Blosc2 may fail on an intact chunk while another thread decodes a damaged one:
                # retry in one thread.
                self._work(deque(jobs), taken)
        self._file.check_taken()
        return native(taken)

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; reads whole rows."""
        return crops(self.take(rows), np.arange(len(rows)), starts, size)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        blocks = np.unique(np.asarray(rows, np.int64) // self.rows_together)
        cells = (blocks[:, None] * self._columns + np.arange(self._columns)).ravel()
        cells = cells[self._chunks.offsets[cells] >= 0]
        starts = self._chunks.offsets[cells]
        self._file.prefetch(starts, starts + self._chunks.sizes[cells])

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._file.preload()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._helpers.shutdown()
        self._file.close()

    def _work_together(self, jobs: deque[Block], taken: NDArray[Any]) -> None:
        helpers = [self._helpers.submit(self._work, jobs, taken) for _ in range(self._threads - 1)]
        try:
            self._work(jobs, taken)
        finally:
            # Helpers that have not started are not needed. (After a fork they would never start.)
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()

    def _work(self, jobs: deque[Block], taken: NDArray[Any]) -> None:
        """Decode chunks until none remain; several threads share the jobs."""
        while jobs:
            try:
                job = jobs.popleft()
            except IndexError:  # another thread took the last job
                return
            try:
                for column in range(self._columns):
                    self._take_from(job.number * self._columns + column, job, taken)
            except BaseException:
                jobs.clear()  # so that the other threads stop
                raise

    def _take_from(self, cell: int, block: Block, taken: NDArray[Any]) -> None:
        """Decode one chunk, and copy its part of the rows to their positions."""
        chunks = self._chunks
        if self.layout.has_whole_rows and chunks.offsets[cell] >= 0:
            # Move each row as a single value of that many bytes: one plain copy per row.
            values = self._decoded(cell).view(self._row_type)
            taken.reshape(len(taken), -1).view(self._row_type)[:, 0][block.positions] = values[block.rows]
            return
        first = chunks.first_element(cell)
        # A chunk at the edge extends beyond the dataset.
        ends = [min(start + size, end) for start, size, end in zip(first, chunks.shape, self.layout.shape, strict=True)]
        columns: tuple[Any, ...] = tuple(slice(start, end) for start, end in zip(first[1:], ends[1:], strict=True))
        if chunks.offsets[cell] < 0:
            taken[(block.positions, *columns)] = chunks.fill[0]
            return
        values = self._decoded(cell).view(self.layout.dtype).reshape(chunks.shape)
        inside: tuple[Any, ...] = tuple(slice(end - start) for start, end in zip(first[1:], ends[1:], strict=True))
        taken[(block.positions, *columns)] = values[(block.rows, *inside)]

    def _decoded(self, cell: int) -> NDArray[np.uint8]:
        chunks = self._chunks
        num_bytes = int(chunks.sizes[cell])
        stored = self._file.read(int(chunks.offsets[cell]), num_bytes)
        try:
            return self._pipeline.decode(stored, int(chunks.masks[cell]))
        except CannotDecode as error:
            self._file.check_taken()
            first = chunks.first_element(cell)
            at_edge = any(s + n > end for s, n, end in zip(first, chunks.shape, self.layout.shape, strict=True))
            if at_edge and num_bytes == self._pipeline.num_bytes:
                # H5Pset_chunk_opts lets chunks at the edge be stored unfiltered, without a mark.
                return stored
            raise DataError.at(
                self.layout.place,
                f"cannot be read: the chunk at {first} is damaged: {error}",
                remedy=DAMAGED_REMEDY,
            ) from None
