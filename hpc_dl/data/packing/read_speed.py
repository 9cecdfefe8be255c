"""How fast a file is read in this place, against what this place can do: ``hpc-dl data bench``."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.paired import pair_up
from hpc_dl.data.packing.source import Wishes
from hpc_dl.data.storage.checksum import datasets
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.rows import RowReader, open_rows
from hpc_dl.errors import DataError

# All figures of a file take about ten seconds: three splits, each read warm and cold.
_SECONDS = 0.8
_WINDOW_BYTES = 16 << 20
_COPY_BYTES = 64 << 20
_PIECE_BYTES = 4 << 20
_WARM_BYTES = 512 << 20  # of a larger dataset, the first so many bytes are read warm
_AHEAD_BYTES = 1 << 20  # what is read from the disk as one
_PROBES = 256

Take = Callable[[NDArray[np.intp]], NDArray[Any]]


@dataclass(frozen=True)
class Speed:
    """Samples and bytes (of samples, decoded) that came in a second."""

    samples_per_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class DatasetSpeed:
    """How fast one dataset is read.

    Attributes:
        dataset: its path in the file.
        shape: its shape, samples first.
        dtype: its type.
        reading: how it is read: ``mapped``, ``chunks, …``, ``by h5py: …``.
        warm: speed when the samples are in memory; of a large dataset those of the first 512 MiB.
        cold: speed when it is on the disk only; None where it could not be had out of memory.
        limit: what limits the speed, in words.
        remedy: what would help, with the gain where it was measured; empty when nothing would.
    """

    dataset: str
    shape: tuple[int, ...]
    dtype: str
    reading: str
    warm: Speed
    cold: Speed | None
    limit: str
    remedy: str


def bench(path: str | Path, batch_size: int = 128, inputs: str | None = None) -> dict[str, Any]:
    """Measure the reading speed of a file's inputs, split by split.

    Args:
        path: an HDF5 file.
        batch_size: samples in a batch.
        inputs: name of the inputs, where they have an unusual one.

    Returns:
        ``file``, ``bytes``, ``memory_bytes_per_s`` (a plain copy), ``disk_bytes_per_s`` (the file
        read in order; None where it stays in memory) and ``datasets``: :class:`DatasetSpeed` of
        each split; all ready for JSON.

    Raises:
        DataError: the file cannot be read, or has no inputs.
    """
    path = Path(path).absolute()
    with open_file(path) as file:
        names = _inputs_of(file, inputs)
        stored = [_Stored.of(find_dataset(file, name, "--inputs")) for name in names]
    memory, disk = copy_speed(), disk_speed(path)
    found = [asdict(_measure(path, dataset, batch_size, memory, disk)) for dataset in stored]
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "batch_size": batch_size,
        "memory_bytes_per_s": memory,
        "disk_bytes_per_s": disk,
        "datasets": found,
    }


def shuffled_speed(
    take: Take,
    num_samples: int,
    together: int = 1,
    batch_size: int = 128,
    seconds: float = 1.0,
    ahead: Callable[[NDArray[np.intp]], None] | None = None,
) -> Speed:
    """Speed of shuffled reading, as training does it.

    Args:
        take: gives the rows asked for.
        num_samples: rows that there are.
        together: rows that are decoded, or read ahead, as one. When 1, single batches are taken;
            else blocks of so many rows in a random order, in windows of up to 16 MiB whose rows are
            shuffled.
        batch_size: samples in a batch.
        seconds: how long, about; at least one window is read.
        ahead: is told the rows of the next window before those of this one are taken. Where it is
            given, no row is read twice: the second time it would come from memory.
    """
    samples = num_bytes = 0
    windows = _Windows(num_samples, together, batch_size, again=ahead is None)
    rows = windows.next()
    begin = time.perf_counter()
    while True:
        following = windows.next()
        if ahead is not None:
            ahead(following)
        values = take(rows)
        samples += len(rows)
        num_bytes += values.nbytes
        elapsed = time.perf_counter() - begin
        if elapsed > seconds or not len(following):
            return Speed(samples / elapsed, num_bytes / elapsed)
        # The first windows are small, so that slow reading ends in time, too.
        if values.nbytes < _WINDOW_BYTES // 2:
            windows.num_blocks *= 2
        rows = following


class _Windows:
    """Rows to take at a time: a random batch, or random blocks of rows whose rows are shuffled
    among each other.
    """

    def __init__(self, num_samples: int, together: int, batch_size: int, again: bool) -> None:
        self.num_blocks = 1  #: in a window
        self._num_samples, self._together, self._batch_size, self._again = num_samples, together, batch_size, again
        self._random = np.random.default_rng(0)
        self._order = self._random.permutation(-(-num_samples // together)) if together > 1 else np.empty(0, np.intp)
        self._next = 0

    def next(self) -> NDArray[np.intp]:
        """The rows of the next window; none when each was there once and none shall be there again."""
        if self._together == 1:
            return self._random.integers(0, self._num_samples, min(self._batch_size, self._num_samples))
        if self._next >= len(self._order) and self._again:
            self._next = 0
        blocks = self._order[self._next : self._next + self.num_blocks]
        self._next += self.num_blocks
        rows = (blocks[:, None] * self._together + np.arange(self._together)).reshape(-1)
        return self._random.permutation(rows[rows < self._num_samples])


def copy_speed() -> float:
    """Bytes that one thread copies in memory in a second."""
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        best = max(best, _COPY_BYTES / (time.perf_counter() - begin))
    return best


def disk_speed(path: Path) -> float | None:
    """Bytes in a second when a file is read in order from the disk; None where it cannot be had out
    of memory.
    """
    if not evict(path):
        return None
    buffer = bytearray(_PIECE_BYTES)
    num_bytes = 0
    begin = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while (read := file.readinto(buffer)) and time.perf_counter() - begin < _SECONDS:
            num_bytes += read
    return num_bytes / (time.perf_counter() - begin)


def evict(path: Path) -> bool:
    """Have the system forget a file's pages, and return whether it did.

    It does not where the file system is in memory (tmpfs), where another process has the file
    mapped, and it does not say so for another user's file.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _share_in_memory(path) < 0.1


def megabytes(num_bytes: float) -> str:
    """``46.9 MB``, from a gigabyte on ``1.23 GB``."""
    return f"{num_bytes / 1e9:,.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _measure(path: Path, stored: _Stored, batch_size: int, memory: float, disk: float | None) -> DatasetSpeed:
    threads = len(os.sched_getaffinity(0))
    cold = None
    if disk is not None and evict(path):
        with closing(open_rows(path, stored.name, threads=threads)) as reader:
            at_least = max(2, _AHEAD_BYTES * stored.num_samples // stored.raw_bytes)
            together = -(-at_least // reader.rows_together) * reader.rows_together
            cold = shuffled_speed(reader.take, stored.num_samples, together, batch_size, _SECONDS, reader.prefetch)
    with closing(open_rows(path, stored.name, threads=threads)) as reader:
        together = reader.rows_together
        some, num_warm = _into_memory(reader, stored)
        warm = shuffled_speed(reader.take, num_warm, together, batch_size, _SECONDS)
    limit, remedy = _diagnosis(stored, reader.reading, warm, cold, memory, disk)
    if remedy == _REPACK:
        gain = _gathered(some, batch_size).samples_per_s / warm.samples_per_s
        remedy = _repack_words(path, stored, gain)
    return DatasetSpeed(
        dataset=stored.name,
        shape=stored.shape,
        dtype=stored.dtype,
        reading=reader.reading,
        warm=warm,
        cold=cold,
        limit=limit,
        remedy=remedy,
    )


_REPACK = "repack"


@dataclass(frozen=True)
class _Stored:
    """What the header says of a dataset."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    raw_bytes: int
    stored_bytes: int
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]

    @property
    def num_samples(self) -> int:
        return self.shape[0]

    @property
    def pieces(self) -> int:
        """Into how many chunks a sample is cut."""
        if self.chunks is None:
            return 1
        return int(np.prod([-(-size // chunk) for size, chunk in zip(self.shape[1:], self.chunks[1:], strict=True)]))

    @property
    def chunk_bytes(self) -> int:
        return 0 if self.chunks is None else self.raw_bytes // self.num_samples * self.chunks[0] // self.pieces

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Stored:
        if not dataset.shape or not dataset.shape[0] or dataset.dtype.kind not in "biuf":
            raise DataError.at(
                f"{dataset.file.filename}:{dataset.name}", "holds no numbers to read", value=str(dataset.dtype)
            )
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(number)[3].decode() for number in range(creation.get_nfilters())]
        return cls(
            name=dataset.name,
            shape=dataset.shape,
            dtype=str(dataset.dtype),
            raw_bytes=dataset.nbytes,
            stored_bytes=dataset.id.get_storage_size(),
            chunks=dataset.chunks,
            filters=tuple(name.partition(";")[0] or "unnamed filter" for name in filters),
        )


def _diagnosis(
    stored: _Stored, reading: str, warm: Speed, cold: Speed | None, memory: float, disk: float | None
) -> tuple[str, str]:
    """What limits the speed, and what would help."""
    packed = [name for name in stored.filters if name not in ("shuffle", "fletcher32")]
    if reading.startswith("by h5py"):
        return f"h5py: one thread, one lock ({reading})", _REPACK
    if stored.pieces > 1:
        return f"the shape of the chunks {stored.chunks}: each sample lies in {stored.pieces} of them", _REPACK
    if stored.chunk_bytes > 4 * _WINDOW_BYTES // 16 and stored.chunks and stored.chunks[0] > 1:
        words = f"the size of the chunks: {stored.chunk_bytes / 1e6:.0f} MB are decoded as one"
        return words + (f" ({', '.join(packed)})" if packed else ""), _REPACK
    if packed:
        return f"decompression ({', '.join(packed)})", _REPACK
    if cold and disk and cold.bytes_per_s < warm.bytes_per_s / 2:
        return (
            "the disk until the file is in memory, then by memory",
            "",
        )
    if stored.chunks:
        return "the copying of chunks", _REPACK
    if warm.bytes_per_s > memory / 4:
        return "memory", ""
    return "the work for each batch and sample, as the samples are small", "larger batches"


def _repack_words(path: Path, stored: _Stored, gain: float) -> str:
    if gain < 1.3:
        return ""
    times = f"{gain:.1f}" if gain < 3 else f"{float(f'{gain:.1g}'):.0f}"
    words = f"repack: hpc-dl data pack {path.name} NEW.h5 --layout contiguous: about {times} times, in memory"
    if stored.raw_bytes > 1.2 * stored.stored_bytes:
        words += f"; it takes {megabytes(stored.raw_bytes)} instead of {megabytes(stored.stored_bytes)}"
    return words


def _gathered(some: NDArray[Any], batch_size: int) -> Speed:
    """Speed of the same samples from memory, as a contiguous file gives them: a gain is measured,
    not guessed.
    """
    rows = np.resize(np.arange(len(some)), max(len(some), _COPY_BYTES * len(some) // max(1, some.nbytes)))
    values = some[rows]
    return shuffled_speed(lambda wanted: values.take(wanted, axis=0), len(values), 1, batch_size, 0.2)


def _inputs_of(file: h5py.File, name: str | None) -> list[str]:
    """The inputs of each split; where nothing tells them, the largest dataset."""
    known = [(path, dataset) for path, dataset in datasets(file) if dataset.shape and dataset.dtype.kind in "biuf"]
    if name is not None:
        return [find_dataset(file, name, "--inputs").name]
    try:
        return [inputs for inputs, _ in pair_up([path for path, _ in known], Wishes(), Path(file.filename)).values()]
    except DataError:
        if not known:
            raise
        return [max(known, key=lambda pair: pair[1].size)[0]]


def _into_memory(reader: RowReader, stored: _Stored) -> tuple[NDArray[Any], int]:
    """Read the first rows, as many as there are in about a second or in 512 MiB.

    This brings them into memory, and into the map where there is one. Returns the last rows read,
    and how many are in memory now.
    """
    row_bytes = stored.raw_bytes // stored.num_samples
    blocks = max(1, _WINDOW_BYTES // 2 // max(1, row_bytes * reader.rows_together))
    last, begin = 0, time.perf_counter()
    while True:
        # The first stretch is one block only: it may take long by itself.
        end = min(stored.num_samples, last + reader.rows_together * (blocks if last else 1))
        some = reader.take(np.arange(last, end))
        last = end
        if last == stored.num_samples or last * row_bytes > _WARM_BYTES or time.perf_counter() - begin > _SECONDS:
            return some, last


def _share_in_memory(path: Path) -> float:
    """Share of a file's pages, sampled, that the system holds in memory."""
    num_pages = -(-path.stat().st_size // mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        state = ctypes.c_ubyte()
        resident = 0
        probes = np.unique(np.linspace(0, num_pages - 1, _PROBES).astype(np.int64))
        mincore = ctypes.CDLL(None).mincore
        for page in probes:
            address = ctypes.c_void_p(view.ctypes.data + int(page) * mmap.PAGESIZE)
            if mincore(address, ctypes.c_size_t(1), ctypes.byref(state)) == 0:
                resident += state.value & 1
        del view  # else the map cannot be closed
    return resident / len(probes)
