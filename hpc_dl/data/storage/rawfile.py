"""The bytes of a file without HDF5: mapped where the system allows, else read; noticed when they
change.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import time

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.available_memory import stays_in_memory
from hpc_dl.data.storage.layout import Layout, Stamp
from hpc_dl.errors import DataError

_SECONDS_BETWEEN_LOOKS = 1.0
# Linux cuts a larger request for read-ahead to the window of the device, often as small as this.
_PIECE = 128 << 10
_PIECES_PER_LOOK = 8
_PAGE = mmap.PAGESIZE
_LOADED_PIECE = 8 << 20
_MADV_POPULATE_READ = 22  # Linux 5.14; Python's mmap does not know it, and would keep the interpreter's lock
_libc = ctypes.CDLL(None)


class RawFile:
    """A stretch of a file from which a dataset is read; holds a file descriptor and perhaps a map,
    both safe to fork.

    Attributes:
        start: where in the file the stretch begins.
        content: the stretch as mapped bytes; None where it could not be mapped.
    """

    def __init__(self, layout: Layout) -> None:
        """Open the file of a layout for the bytes of the dataset, from the first to the last.

        Raises:
            DataError: the file has gone, or is not the one that the layout describes.
        """
        self._layout = layout
        self.start, end = layout.extent
        self._looked_at = 0.0
        self._stays = stays_in_memory(end - self.start)
        try:
            self._fd = os.open(layout.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError.at(
                layout.file, f"cannot be opened: {error.strerror}", remedy="bring the file back, and start again"
            ) from None
        try:
            self.check()
            self.content = self._map(self.start, end)
        except BaseException:
            os.close(self._fd)
            raise
        self._asked = np.zeros(end // _PIECE + 1, bool)

    def check(self) -> None:
        """Look, at most once a second, whether the file is still what it was; before the map is
        touched.

        Touching a page behind the end of a mapped file that has shrunk kills the process (SIGBUS).

        Raises:
            DataError: the file was changed.
        """
        now = time.monotonic()
        if now - self._looked_at < _SECONDS_BETWEEN_LOOKS and self._looked_at:
            return
        status = os.fstat(self._fd)
        if Stamp.of(status) != self._layout.stamp:
            raise DataError.at(
                self._layout.place,
                "was changed while it is being read",
                value=f"{status.st_size} bytes",
                allowed=f"{self._layout.stamp.num_bytes} bytes, as it was when it was opened",
                remedy="leave the files of a running job alone, and start it again",
            )
        self._looked_at = now

    def read(self, offset: int, num_bytes: int) -> NDArray[np.uint8]:
        """The bytes at an offset of the file: a view of the map, or a new array.

        Raises:
            DataError: the file has become shorter.
        """
        if self.content is not None:
            return self.content[offset - self.start : offset - self.start + num_bytes]
        values = np.empty(num_bytes, np.uint8)
        self.read_into(values, offset)
        return values

    def read_into(self, values: NDArray[np.uint8], offset: int) -> None:
        """Fill an array with the bytes at an offset of the file.

        Raises:
            DataError: the file has become shorter.
        """
        done = 0
        while done < len(values):
            num_read = os.preadv(self._fd, [values[done:].data], offset + done)
            if not num_read:
                self._looked_at = 0.0
                self.check()
                raise DataError.at(self._layout.place, f"ends at byte {offset + done}", remedy="copy the file again")
            done += num_read

    def expect(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Let the system read these stretches of the file ahead; returns before they are there.

        To ask for small rows that lie far apart would cost more than to use them: their pieces are
        asked for once in the life of this object; or nothing but the rows, where memory cannot hold
        the file. Where most of each piece is wanted, a look at one byte of a mebibyte tells whether
        the system has dropped it since.
        """
        if not len(starts):
            return
        first, last = starts // _PIECE, (ends - 1) // _PIECE
        counts = last - first + 1
        offset_in_run = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        pieces = np.unique(np.repeat(first, counts) + offset_in_run)
        if 2 * int((ends - starts).sum()) < len(pieces) * _PIECE:
            if not self._stays:
                for start, num_bytes in zip(starts.tolist(), (ends - starts).tolist(), strict=True):
                    os.posix_fadvise(self._fd, start, num_bytes, os.POSIX_FADV_WILLNEED)
                return
            pieces = pieces[~self._asked[pieces]]
        self._asked[pieces] = True
        for _, group in itertools.groupby(pieces.tolist(), lambda piece: piece // _PIECES_PER_LOOK):
            first_piece, *others = group
            if not self._stays or not self._is_cached(first_piece * _PIECE):
                for piece in (first_piece, *others):
                    # This call lets go of the interpreter's lock; mmap.madvise does not in all
                    # versions of Python.
                    os.posix_fadvise(self._fd, piece * _PIECE, _PIECE, os.POSIX_FADV_WILLNEED)

    def load(self) -> None:
        """Have the system read all of the stretch, if it is not in memory; returns when it has, or
        when this is closed.

        The pages of the map are entered, too, which would else be done one by one when they are
        touched. The interpreter's lock is let go of meanwhile: other threads go on.
        """
        content, end = self.content, self.start + len(self.content if self.content is not None else ())
        for begin in range(self.start // _PAGE * _PAGE, end, _LOADED_PIECE):
            if self._fd < 0 or content is None:
                return
            num_bytes = min(end - begin, _LOADED_PIECE)
            if _libc.madvise(
                ctypes.c_void_p(content.ctypes.data + begin - self.start),
                ctypes.c_size_t(num_bytes),
                _MADV_POPULATE_READ,
            ):
                # Linux before 5.14: by a read whose result nobody wants.
                os.preadv(self._fd, [bytearray(num_bytes)], begin)

    def close(self) -> None:
        """Let go of the file; the map goes with the last array that refers to it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.content = None

    def _is_cached(self, offset: int) -> bool:
        """Whether a byte is in memory already. (mincore says so of any file that belongs to
        somebody else.)
        """
        try:
            os.preadv(self._fd, [bytearray(1)], offset, os.RWF_NOWAIT)
        except OSError:  # it would have to wait, or the file system cannot tell
            return False
        return True

    def _map(self, start: int, end: int) -> NDArray[np.uint8] | None:
        aligned = start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(self._fd, end - aligned, access=mmap.ACCESS_READ, offset=aligned)
        except (OSError, ValueError, OverflowError):
            return None  # a limit of the address space (ulimit -v), or a file system that maps nothing
        if not self._stays:
            # Else the system reads what lies around each row as well, megabytes on some machines,
            # and drops it unused.
            mapped.madvise(mmap.MADV_RANDOM)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_RANDOM)
        return np.frombuffer(mapped, np.uint8)[start - aligned :]
