"""The reading speed of each split of a file, with its limit: ``hpc-dl data bench``."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import pair_up
from hpc_dl.data.read_speed.diagnosis import StoredDataset, diagnose, repack_advice
from hpc_dl.data.read_speed.machine import COPY_BYTES, copy_speed, disk_speed, evict
from hpc_dl.data.read_speed.shuffled import WINDOW_BYTES, Speed, shuffled_speed
from hpc_dl.data.storage.dependencies import linked_datasets
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.rows import RowReader, open_rows
from hpc_dl.errors import DataError

# A file with three splits, each read from memory and from disk, takes about ten seconds.
_SECONDS = 0.8
_WARM_BYTES = 512 << 20  # of a larger dataset, only the start is read from memory
_PREFETCH_BYTES = 1 << 20  # what is read from disk at a time


@dataclass(frozen=True)
class DatasetSpeed:
    """How fast one dataset is read.

    Attributes:
        dataset: its path in the file.
        shape: its shape, samples first.
        dtype: its type.
        reading: how it is read: ``mapped``, ``chunks, …``, ``by h5py: …``.
        warm: speed from memory; of a large dataset for the first 512 MiB.
        cold: speed from disk; None if the file cannot be evicted from memory.
        limit: what limits the speed.
        remedy: what would help, with the measured gain; empty if nothing would.
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
    """Measure the reading speed of the inputs of each split.

    Args:
        path: an HDF5 file.
        batch_size: samples per batch.
        inputs: name of the inputs; None to infer it.

    Returns:
        JSON-compatible results: ``file``, ``bytes``, ``batch_size``, ``memory_bytes_per_s`` (a
        plain copy), ``disk_bytes_per_s`` (sequential reading; None if the file cannot be evicted
        from memory) and ``datasets``: :class:`DatasetSpeed` of each split.

    Raises:
        DataError: the file cannot be read, or has no inputs.
    """
    path = Path(path).absolute()
    with open_file(path) as file:
        stored = [StoredDataset.of(find_dataset(file, name, "--inputs")) for name in _inputs_of(file, inputs)]
    memory, disk = copy_speed(), disk_speed(path, _SECONDS)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "batch_size": batch_size,
        "memory_bytes_per_s": memory,
        "disk_bytes_per_s": disk,
        "datasets": [asdict(_measure(path, dataset, batch_size, memory, disk)) for dataset in stored],
    }


def _measure(path: Path, stored: StoredDataset, batch_size: int, memory: float, disk: float | None) -> DatasetSpeed:
    threads = len(os.sched_getaffinity(0))
    cold = None
    if disk is not None and evict(path):
        with closing(open_rows(path, stored.name, threads=threads)) as reader:
            at_least = max(2, _PREFETCH_BYTES * stored.num_samples // stored.raw_bytes)
            together = -(-at_least // reader.rows_together) * reader.rows_together
            cold = shuffled_speed(reader.take, stored.num_samples, together, batch_size, _SECONDS, reader.prefetch)
    with closing(open_rows(path, stored.name, threads=threads)) as reader:
        last_rows, num_warm = _load_into_memory(reader, stored)
        warm = shuffled_speed(reader.take, num_warm, reader.rows_together, batch_size, _SECONDS)
    diagnosis = diagnose(stored, reader.reading, warm, cold, memory, disk)
    remedy = diagnosis.remedy
    if diagnosis.repack:
        gain = _contiguous_speed(last_rows, batch_size).samples_per_s / warm.samples_per_s
        remedy = repack_advice(path, stored, gain)
    return DatasetSpeed(
        dataset=stored.name,
        shape=stored.shape,
        dtype=stored.dtype,
        reading=reader.reading,
        warm=warm,
        cold=cold,
        limit=diagnosis.limit,
        remedy=remedy,
    )


def _contiguous_speed(samples: NDArray[Any], batch_size: int) -> Speed:
    """Measure reading the same samples from a contiguous array, the gain of repacking."""
    rows = np.resize(np.arange(len(samples)), max(len(samples), COPY_BYTES * len(samples) // max(1, samples.nbytes)))
    values = samples[rows]
    return shuffled_speed(lambda batch: values.take(batch, axis=0), len(values), 1, batch_size, 0.2)


def _inputs_of(file: h5py.File, name: str | None) -> list[str]:
    """Return the inputs of each split; the largest dataset if they cannot be inferred."""
    numeric = [
        (path, dataset) for path, dataset in linked_datasets(file) if dataset.shape and dataset.dtype.kind in "biuf"
    ]
    if name is not None:
        return [find_dataset(file, name, "--inputs").path]
    try:
        return [inputs for inputs, _ in pair_up([path for path, _ in numeric], Path(file.filename)).values()]
    except DataError:
        if not numeric:
            raise
        return [max(numeric, key=lambda pair: pair[1].size)[0]]


def _load_into_memory(reader: RowReader, stored: StoredDataset) -> tuple[NDArray[Any], int]:
    """Read the first rows, as many as possible in about a second, but not more than 512 MiB.

    This loads them into the page cache and, if there is one, into the memory map.

    Returns:
        The last block of rows, and the number of rows that are in memory.
    """
    row_bytes = stored.raw_bytes // stored.num_samples
    blocks = max(1, WINDOW_BYTES // 2 // max(1, row_bytes * reader.rows_together))
    num_read, start = 0, time.perf_counter()
    while True:
        # Start with a single block, which may already take long.
        stop = min(stored.num_samples, num_read + reader.rows_together * (blocks if num_read else 1))
        rows = reader.take(np.arange(num_read, stop))
        num_read = stop
        elapsed = time.perf_counter() - start
        if num_read == stored.num_samples or num_read * row_bytes > _WARM_BYTES or elapsed > _SECONDS:
            return rows, num_read
