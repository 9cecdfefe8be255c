"""The speed of this machine's memory and disk, and control of the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import numpy as np

#: Size of the array that is copied to measure the memory.
COPY_BYTES = 64 << 20
_READ_BYTES = 4 << 20
_NUM_PROBED_PAGES = 256


def copy_speed() -> float:
    """Measure how many bytes per second one thread copies in memory."""
    source = np.ones(COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = max(best, COPY_BYTES / (time.perf_counter() - start))
    return best


def disk_speed(path: Path, seconds: float) -> float | None:
    """Measure how many bytes per second are read sequentially from disk.

    Args:
        path: the file to read.
        seconds: maximum duration.

    Returns:
        Bytes per second; None if the file cannot be evicted from memory.
    """
    return read_speed(path, seconds) if evict(path) else None


def read_speed(path: Path, seconds: float) -> float:
    """Measure how many bytes per second are read sequentially, from memory or from disk.

    Args:
        path: the file to read.
        seconds: maximum duration.
    """
    buffer = bytearray(_READ_BYTES)
    num_bytes = 0
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while (num_read := file.readinto(buffer)) and time.perf_counter() - start < seconds:
            num_bytes += num_read
    return num_bytes / (time.perf_counter() - start)


def evict(path: Path) -> bool:
    """Evict a file from the page cache; return whether that succeeded.

    It fails on file systems in memory (tmpfs), and if another process has mapped the file. For
    another user's file the system reports no failure.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _cached_share(path) < 0.1


def _cached_share(path: Path) -> float:
    """Return the share of a file's pages in the page cache, estimated from a sample."""
    num_pages = -(-path.stat().st_size // mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        state = ctypes.c_ubyte()
        num_cached = 0
        pages = np.unique(np.linspace(0, num_pages - 1, _NUM_PROBED_PAGES).astype(np.int64))
        mincore = ctypes.CDLL(None).mincore
        for page in pages:
            address = ctypes.c_void_p(view.ctypes.data + int(page) * mmap.PAGESIZE)
            if mincore(address, ctypes.c_size_t(1), ctypes.byref(state)) == 0:
                num_cached += state.value & 1
        del view  # the map cannot be closed while an array uses it
    return num_cached / len(pages)
