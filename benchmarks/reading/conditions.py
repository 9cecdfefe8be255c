"""Reading under other conditions: from the disk, the memory it takes, and the first batch."""

from __future__ import annotations

import ctypes
import mmap
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reading.data_sets import DataSet, hdf5_file, write_sparse
from benchmarks.reading.processes import anonymous_bytes, run_in_fresh_process
from benchmarks.reading.readers import HPC_DL, hpc_dl, own_readers
from hpc_dl.data.datamodule import HDF5DataModule

FIRST_BATCH_SAMPLES = (2, 1_000, 100_000, 10_000_000, 100_000_000)
_OPENED = ", opened before"
_libc = ctypes.CDLL(None, use_errno=True)


# --- from the disk ------------------------------------------------------------------------------


def evict(path: Path) -> float:
    """Drop a file from the page cache; return the share of it that is still cached."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached_share(descriptor)
    finally:
        os.close(descriptor)


def _cached_share(descriptor: int) -> float:
    """The share of a file in the page cache, by mincore: reading a page would read ahead."""
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), np.uint8)
        if _libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), ctypes.c_void_p(pages.ctypes.data)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return float((pages & 1).mean())


def dd(path: Path) -> float:
    """Return the bytes per second of ``dd`` without the page cache."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=4M", "iflag=direct"]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return path.stat().st_size / (time.perf_counter() - start)


def one_epoch(reader: str, folder: Path, data: DataSet, limit_s: float, opened: Path | None) -> float:
    """Return the bytes per second of an epoch, or of its part within ``limit_s`` seconds.

    Args:
        reader: name of the reader.
        folder: of the data.
        data: the data set.
        limit_s: time limit in seconds.
        opened: the file, if opening it is not to count: it is evicted again after it was opened.
    """
    start = time.perf_counter()
    epochs = own_readers()[reader](folder, data)
    if opened is not None:
        evict(opened)
        start = time.perf_counter()
    samples = 0
    for x, _ in epochs(0):
        samples += len(x)
        if time.perf_counter() - start > limit_s:
            break
    return samples * data.sample_bytes / (time.perf_counter() - start)


def cold(context: ForkServerContext, folder: Path, data: DataSet, rounds: int) -> dict[str, Any]:
    """Measure bytes per second of files that are not in the page cache."""
    measured: dict[str, list[float]] = {"dd": []}
    still_cached = 0.0
    os.sync()  # the files were just written
    for _ in range(rounds):
        for reader in (HPC_DL, HPC_DL + _OPENED, "hpc_dl, chunked", "good naive h5py, 0 workers"):
            path = hdf5_file(folder, data, "chunked" if "chunked" in reader else "contiguous")
            still_cached = max(still_cached, evict(path))
            opened = path if _OPENED in reader else None
            arguments = (reader.removesuffix(_OPENED), folder, data, 2.0, opened)
            rate, _memory = run_in_fresh_process(context, one_epoch, *arguments)
            measured.setdefault(reader, []).append(rate)
        evict(hdf5_file(folder, data, "contiguous"))
        measured["dd"].append(dd(hdf5_file(folder, data, "contiguous")))
    ratios = [rate / limit for rate, limit in zip(measured[HPC_DL], measured["dd"], strict=True)]
    return {
        "bytes_per_s": {name: statistics.median(values) for name, values in measured.items()},
        "times_dd": statistics.median(ratios),
        "most_still_in_memory": still_cached,
    }


# --- memory in addition to the batches ----------------------------------------------------------


def read_for(layout: str, folder: Path, data: DataSet, seconds: float) -> int:
    """Open a file and read epochs; return the anonymous bytes before it, after all imports."""
    before = anonymous_bytes(os.getpid())
    epochs = hpc_dl(folder, data, layout=layout)
    deadline = time.monotonic() + seconds
    for number in range(1_000_000):
        for _ in epochs(number):
            if time.monotonic() > deadline:
                return before
    return before


def memory(
    context: ForkServerContext, folder: Path, data: DataSet, layouts: tuple[str, ...], seconds: float
) -> dict[str, int]:
    """Measure the anonymous bytes of reading, less the current batch and the prefetched one."""
    added = {}
    for layout in layouts:
        before, largest = run_in_fresh_process(context, read_for, layout, folder, data, seconds)
        added[layout] = max(0, largest - before - 2 * data.batch * data.sample_bytes)
    return added


# --- the first batch ----------------------------------------------------------------------------


def time_to_first_batch(path: Path, batch: int) -> float:
    """Return the seconds from the path to the first batch."""
    start = time.perf_counter()
    next(iter(HDF5DataModule(path, batch_size=batch).train_dataloader()))
    return time.perf_counter() - start


def first_batches(context: ForkServerContext, folder: Path, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Measure the first batch of files from a kilobyte to 78 GB, in fresh processes."""
    results = []
    for samples in sizes:
        path = folder / "sparse.h5"
        write_sparse(path, samples)
        batch = min(128, samples)
        times = [run_in_fresh_process(context, time_to_first_batch, path, batch)[0] for _ in range(rounds)]
        results.append({"samples": samples, "bytes": path.stat().st_size, "first_batch_s": statistics.median(times)})
        path.unlink()
    return results
