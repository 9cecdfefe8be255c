"""What reading takes under other conditions: from the disk, in memory beside the batches, at the
first batch."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reading_runs import PATIENCE_S
from benchmarks.reading_sets import DataSet, hdf5, write_sparse

FIRST_BATCH_SAMPLES = (1, 1_000, 100_000, 10_000_000, 100_000_000)
OURS, OPENED = "hpc_dl, contiguous", ", opened before"
_libc = ctypes.CDLL(None, use_errno=True)


def in_fresh_process(context: ForkServerContext, work: Callable[..., Any], *given: Any) -> tuple[Any, int]:
    """What ``work`` gives in a process of its own, and the most anonymous memory, in bytes, that
    was seen of it."""
    connection, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, work, given))
    process.start()
    theirs.close()
    most, until = 0, time.monotonic() + PATIENCE_S
    while not connection.poll(0.002):
        most = max(most, anonymous_bytes(process.pid))
        if time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"{work.__name__}{given} does not answer")
    answer = connection.recv()
    process.join()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer, most


def _answer(connection: Connection, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    import traceback

    try:
        connection.send(work(*given))
    except Exception:
        connection.send(traceback.format_exc())
    connection.close()
    os._exit(0)


def anonymous_bytes(pid: int | None) -> int:
    """Memory of a process that no file backs (RssAnon)."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


# --- from the disk ------------------------------------------------------------------------------


def evict(path: Path) -> float:
    """Have the system forget a file's content; the share of it that is still in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached(descriptor)
    finally:
        os.close(descriptor)


def _cached(descriptor: int) -> float:
    """Share of a file that is in memory. By mincore: a read of a page, even one that may not wait,
    reads ahead."""
    with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as mapped:
        address = np.frombuffer(mapped, np.uint8).ctypes.data
        pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), np.uint8)
        if _libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), ctypes.c_void_p(pages.ctypes.data)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return float((pages & 1).mean())


def dd(path: Path) -> float:
    """Bytes per second of ``dd`` without the system's cache."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=4M", "iflag=direct"]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return path.stat().st_size / (time.perf_counter() - began)


def one_epoch(way: str, folder: Path, data: DataSet, most_s: float, opened: Path | None) -> float:
    """Bytes per second of the samples of an epoch, or of what comes of it in so many seconds.

    Opening is included, unless ``opened`` names the file: that is forgotten once more when it has
    been opened.
    """
    from benchmarks.reading_ways import ways

    chosen = ways()[way]
    began = time.perf_counter()
    epoch = chosen(folder, data)
    if opened is not None:
        evict(opened)
        began = time.perf_counter()
    samples = 0
    for x, _ in epoch(0):
        samples += len(x)
        if time.perf_counter() - began > most_s:
            break
    return samples * data.sample_bytes / (time.perf_counter() - began)


def cold(context: ForkServerContext, folder: Path, data: DataSet, rounds: int) -> dict[str, Any]:
    """Bytes per second of files that no memory holds."""
    measured: dict[str, list[float]] = {"dd": []}
    kept = 0.0
    os.sync()  # what was written before is on its way to the disk still
    for _ in range(rounds):
        for way in (OURS, OURS + OPENED, "hpc_dl, chunked", "good naive h5py, 0 workers"):
            path = hdf5(folder, data, "chunked" if "chunked" in way else "contiguous")
            kept = max(kept, evict(path))
            opened = path if OPENED in way else None
            answer, _ = in_fresh_process(context, one_epoch, way.removesuffix(OPENED), folder, data, 2.0, opened)
            measured.setdefault(way, []).append(answer)
        evict(hdf5(folder, data, "contiguous"))
        measured["dd"].append(dd(hdf5(folder, data, "contiguous")))
    ratios = [ours / limit for ours, limit in zip(measured[OURS], measured["dd"], strict=True)]
    return {
        "bytes_per_s": {name: statistics.median(values) for name, values in measured.items()},
        "times_dd": statistics.median(ratios),
        "most_still_in_memory": kept,
    }


# --- beside the batches -------------------------------------------------------------------------


def read_for(layout: str, folder: Path, data: DataSet, seconds: float) -> int:
    """Open and read epochs; anonymous bytes before it, all imports done."""
    from benchmarks.reading_ways import ours

    before = anonymous_bytes(os.getpid())
    epoch = ours(folder, data, layout=layout)
    until = time.monotonic() + seconds
    for number in range(1_000_000):
        for _ in epoch(number):
            if time.monotonic() > until:
                return before
    return before


def memory(
    context: ForkServerContext, folder: Path, data: DataSet, layouts: tuple[str, ...], seconds: float
) -> dict[str, int]:
    """Anonymous bytes of opening and reading, without the batch at hand and the one that is being
    made."""
    found = {}
    for layout in layouts:
        before, most = in_fresh_process(context, read_for, layout, folder, data, seconds)
        found[layout] = max(0, most - before - 2 * data.batch * data.sample_bytes)
    return found


# --- the first batch ----------------------------------------------------------------------------


def opening(path: Path, batch: int) -> float:
    """Seconds from the path to the first batch."""
    from hpc_dl.data.datamodule import HDF5DataModule

    began = time.perf_counter()
    next(iter(HDF5DataModule(path, batch_size=batch).train_dataloader()))
    return time.perf_counter() - began


def first_batches(context: ForkServerContext, folder: Path, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Seconds to the first batch of files from a kilobyte to 78 GB, in processes that have read
    nothing before."""
    found = []
    for samples in sizes:
        path = folder / "sparse.h5"
        write_sparse(path, samples)
        times = [in_fresh_process(context, opening, path, min(128, samples))[0] for _ in range(rounds)]
        found.append({"samples": samples, "bytes": path.stat().st_size, "first_batch_s": statistics.median(times)})
        path.unlink()
    return found
