"""The bytes of a file without HDF5: mapped if the system allows it, otherwise read."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.available_memory import stays_in_memory
from hpc_dl.data.storage.file_version import FileVersion
from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.lost_pages import MappedRange, protect
from hpc_dl.errors import DataError

# Linux truncates a larger read-ahead request to the window of the device, often as small as this.
_PIECE = 128 << 10
_PIECES_PER_PROBE = 8
_PAGE = mmap.PAGESIZE
_PRELOADED_PIECE = 8 << 20
# Linux 5.14. Python's mmap module lacks it, and would hold the interpreter's lock.
_MADV_POPULATE_READ = 22
_libc = ctypes.CDLL(None)


class RawFile:
    """The part of a file that holds one dataset; its descriptor and map are safe to fork.

    Attributes:
        start: byte offset of the part in the file.
        content: the mapped bytes; None if they could not be mapped.
    """

    def __init__(self, layout: Layout) -> None:
        """Open the file of a layout for the bytes of its dataset, from the first to the last.

        Raises:
            DataError: the file is missing, or is not the one that the layout describes.
        """
        self._layout = layout
        self.start, end = layout.extent
        self._mapped: MappedRange | None = None
        self._stays_in_memory = stays_in_memory(end - self.start)
        try:
            self._fd = os.open(layout.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError.at(
                layout.file, f"cannot be opened: {error.strerror}", remedy="restore the file and start again"
            ) from None
        self._version = FileVersion(layout.place, lambda: os.fstat(self._fd), layout.stamp)
        try:
            self.check()
            self.content = self._map(self.start, end)
        except BaseException:
            os.close(self._fd)
            raise
        self._prefetched = np.zeros(end // _PIECE + 1, bool)

    def check(self) -> None:
        """Check, at most once a second, that the file is unchanged, before the map is touched.

        Raises:
            DataError: the file was changed.
        """
        self._version.check()

    def check_taken(self) -> None:
        """Check that all bytes that were taken from the map came from the file.

        Raises:
            DataError: some could not be read: the file was shortened, or its disk failed.
        """
        if self._mapped is not None and self._mapped.lost:
            self._version.check(at_once=True)
            raise DataError.at(
                self._layout.place,
                "cannot be read: the system reports an error of the disk or of the network",
                remedy="check the file system, then start the job again",
            )

    def read(self, offset: int, num_bytes: int) -> NDArray[np.uint8]:
        """Return the bytes at an offset of the file: a view of the map, or a new array.

        Raises:
            DataError: the file was shortened.
        """
        if self.content is not None:
            return self.content[offset - self.start : offset - self.start + num_bytes]
        values = np.empty(num_bytes, np.uint8)
        self.read_into(values, offset)
        return values

    def read_into(self, values: NDArray[np.uint8], offset: int) -> None:
        """Fill an array with the bytes at an offset of the file.

        Raises:
            DataError: the file was shortened.
        """
        done = 0
        while done < len(values):
            num_read = os.preadv(self._fd, [values[done:].data], offset + done)
            if not num_read:
                self._version.check(at_once=True)
                raise DataError.at(
                    self._layout.place,
                    f"is truncated: the file ends at byte {offset + done}",
                    remedy="copy the file again, or create it again",
                )
            done += num_read

    def prefetch(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Ask the system to read these byte ranges in the background; returns at once.

        For small, scattered rows a request costs more than the read itself. Their pieces are
        therefore requested once in the life of this object; if memory cannot hold the file, only
        the rows themselves are requested. If most of each piece is needed, one byte per MiB is
        probed to see whether the system has dropped it since.
        """
        if not len(starts):
            return
        first, last = starts // _PIECE, (ends - 1) // _PIECE
        counts = last - first + 1
        offset_in_run = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        pieces = np.unique(np.repeat(first, counts) + offset_in_run)
        if 2 * int((ends - starts).sum()) < len(pieces) * _PIECE:
            if not self._stays_in_memory:
                for start, num_bytes in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
                    os.posix_fadvise(self._fd, start, num_bytes, os.POSIX_FADV_WILLNEED)
                return
            pieces = pieces[~self._prefetched[pieces]]
        self._prefetched[pieces] = True
        for _, group in itertools.groupby(pieces.tolist(), lambda piece: piece // _PIECES_PER_PROBE):
            first_piece, *others = group
            if not self._stays_in_memory or not self._is_cached(first_piece * _PIECE):
                for piece in (first_piece, *others):
                    # This call releases the interpreter's lock; mmap.madvise does not in all
                    # versions of Python.
                    os.posix_fadvise(self._fd, piece * _PIECE, _PIECE, os.POSIX_FADV_WILLNEED)

    def preload(self) -> None:
        """Have the system read the whole part into memory; returns when it is done, or on close.

        This also maps the pages, which would otherwise happen one by one on first access. Other
        threads continue meanwhile: the interpreter's lock is released.
        """
        content, end = self.content, self.start + len(self.content if self.content is not None else ())
        for begin in range(self.start // _PAGE * _PAGE, end, _PRELOADED_PIECE):
            if self._fd < 0 or content is None:
                return
            num_bytes = min(end - begin, _PRELOADED_PIECE)
            if _libc.madvise(
                ctypes.c_void_p(content.ctypes.data + begin - self.start),
                ctypes.c_size_t(num_bytes),
                _MADV_POPULATE_READ,
            ):
                # Before Linux 5.14, a read whose result is discarded does the same.
                os.preadv(self._fd, [bytearray(num_bytes)], begin)

    def close(self) -> None:
        """Close the file; the map is released with the last array that refers to it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.content = None

    def _is_cached(self, offset: int) -> bool:
        """Whether a byte is already in memory.

        mincore cannot be used: it reports this of any file that belongs to another user.
        """
        try:
            os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT)
        except OSError:  # the read would have to wait, or the file system cannot report it
            return False
        return True

    def _map(self, start: int, end: int) -> NDArray[np.uint8] | None:
        aligned = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(self._fd, end - aligned, access=mmap.ACCESS_READ, offset=aligned)
        except (OSError, ValueError, OverflowError):
            return None  # the address space is limited (ulimit -v), or the file system has no maps
        if not self._stays_in_memory:
            # Otherwise the system also reads the surroundings of each row, megabytes on some
            # machines, and drops them unused.
            mapped.madvise(mmap.MADV_RANDOM)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        content = np.frombuffer(mapped, np.uint8)
        self._mapped = protect(mapped, content.ctypes.data)
        return content[start - aligned :]
