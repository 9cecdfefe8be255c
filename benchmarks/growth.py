"""What grows with the data set: opening, the start of an epoch, resuming in its middle, memory.

``python -m benchmarks.growth`` writes benchmarks/growth.json and a section of
docs/reference/benchmarks.md. ``--quick`` stops at 10⁵ samples; its results go to ``--json FILE``
only.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table
from benchmarks.reading.conditions import evict
from benchmarks.reading.data_sets import DataSet, hdf5_file, write_hdf5, write_raw, write_sparse
from benchmarks.reading.processes import anonymous_bytes, fresh_processes, run_in_fresh_process
from benchmarks.reading.readers import epochs_of, hpc_dl
from hpc_dl.data.datamodule import HDF5DataModule

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
RANKS = (1, 2, 4)
BATCH = 128
ROUNDS = 3
LIMIT_BYTES = 384 << 20
LARGE = DataSet("large", 8_000, (1, 40, 56, 50), "float32", 8, 1, 8_000)  # 3.6 GB
CGROUPS = Path("/sys/fs/cgroup")


# --- growth -------------------------------------------------------------------------------------


class Stopwatch:
    """Measures the seconds between two calls of ``lap``."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def measure_starts(path: Path, ranks: int) -> dict[str, float]:
    """Measure, as the last of some ranks, seconds to the first batch and anonymous memory."""

    def data_module() -> HDF5DataModule:
        module = HDF5DataModule(path, batch_size=BATCH)
        if ranks > 1:
            # All that the data module needs of a Trainer; a rank reads its share without a process
            # group.
            strategy = SimpleNamespace(root_device=SimpleNamespace(type="cpu"))
            module.trainer = SimpleNamespace(  # type: ignore[assignment]
                global_rank=ranks - 1, world_size=ranks, strategy=strategy
            )
        return module

    before = anonymous_bytes(os.getpid())
    stopwatch = Stopwatch()
    loader = data_module().train_dataloader()
    epochs = epochs_of(loader)
    num_batches = len(loader)
    seconds = {"opening": stopwatch.lap()}
    batches = epochs(0)
    next(batches)
    seconds["first batch"] = stopwatch.lap()
    for _ in zip(range(100), batches, strict=False):
        pass
    del batches  # closes the epoch, as its end does
    stopwatch.lap()
    batches = epochs(1)
    next(batches)
    seconds["start of the next epoch"] = stopwatch.lap()
    del batches, epochs, loader
    resumed = data_module()
    resumed.start_at(3, num_batches // 2)
    stopwatch.lap()
    next(epochs_of(resumed.train_dataloader())(3))
    seconds["going on in the middle, opening included"] = stopwatch.lap()
    return seconds | {"bytes": float(anonymous_bytes(os.getpid()) - before)}


def growth(context: ForkServerContext, folder: Path, samples: int, rounds: int) -> dict[str, Any]:
    """Return the medians for one size and each number of ranks."""
    path = folder / f"{samples}.h5"
    write_sparse(path, samples)
    results: dict[str, Any] = {"samples": samples, "file_bytes": path.stat().st_size, "ranks": {}}
    for ranks in RANKS:
        measured = []
        for _ in range(rounds):
            starts, largest = run_in_fresh_process(context, measure_starts, path, ranks)
            measured.append(starts)
        medians = {name: statistics.median(starts[name] for starts in measured) for name in measured[0]}
        results["ranks"][ranks] = {**medians, "most_bytes": largest}
    path.unlink()
    print(f"{samples:,} samples", file=sys.stderr)
    return results


# --- larger than memory -------------------------------------------------------------------------


@contextmanager
def memory_limit(size: int) -> Iterator[str]:
    """Limit the memory of this process, including cached file pages if a cgroup can be created.

    Args:
        size: in bytes.

    Yields:
        What the limit is.
    """
    own_groups: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group_path = line.split(":", 2)
        own_groups |= {name: group_path.lstrip("/") for name in controllers.split(",")}
    candidates = [
        (CGROUPS / "memory" / own_groups.get("memory", ""), "memory.limit_in_bytes", "cgroup (v1)"),
        (CGROUPS / own_groups.get("", ""), "memory.max", "cgroup (v2)"),
    ]
    for parent, limit_file, name in candidates:
        group = parent / f"hpc-dl-bench-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit_file).write_text(str(size))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield f"{name} of {size >> 20} MiB, the cached pages of files included"
        finally:
            (parent / "cgroup.procs").write_text(str(os.getpid()))
            group.rmdir()
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size + _data_bytes(), before[1]))
    try:
        yield f"{size >> 20} MiB of private memory (RLIMIT_DATA); no cgroup could be created, the cache is not limited"
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def read_epoch(limit: int | None, folder: Path, data: DataSet, layout: str) -> dict[str, Any]:
    """Read an epoch from the disk within a memory limit in bytes; return bytes per second."""
    evict(hdf5_file(folder, data, layout))

    def read() -> float:
        stopwatch, samples = Stopwatch(), 0
        for x, _ in hpc_dl(folder, data, layout=layout)(0):
            samples += len(x)
        return samples * data.sample_bytes / stopwatch.lap()

    if limit is None:
        return {"how": "no limit", "bytes_per_s": read()}
    with memory_limit(limit) as description:
        return {"how": description, "bytes_per_s": read()}


def larger_than_memory(
    context: ForkServerContext, folder: Path, data: DataSet, limit: int, rounds: int
) -> dict[str, Any]:
    """Read a file of several times the memory, within the limit and without one."""
    write_raw(folder, data)
    results: dict[str, Any] = {"file_bytes": data.samples * data.sample_bytes, "limit_bytes": limit, "layouts": {}}
    for layout in ("contiguous", "zstd"):
        write_hdf5(folder, data, layout)
        rates: dict[str, list[float]] = {"within": [], "without": []}
        largest = 0
        for _ in range(rounds):
            for name, bound in (("within", limit), ("without", None)):
                outcome, anonymous = run_in_fresh_process(context, read_epoch, bound, folder, data, layout)
                rates[name].append(outcome["bytes_per_s"])
                if bound:
                    results["how"], largest = outcome["how"], max(largest, anonymous)
        hdf5_file(folder, data, layout).unlink()
        results["layouts"][layout] = {name: statistics.median(values) for name, values in rates.items()}
        results["layouts"][layout]["most_anonymous_bytes"] = largest
    (folder / f"{data.name}.raw").unlink()
    return results


# --- the page -----------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    sizes = results["sizes"]
    lines = paragraph(
        "Contiguous files of 28×28 bytes a sample and one byte a label. They are sparse: their zeros were never "
        f"written. Batches of {BATCH}; each figure is the median of {results['num_rounds']} fresh processes after "
        f"their imports. With several ranks, the last of them is measured. {describe(results['machine'])}"
    )
    names = [name for name in sizes[0]["ranks"]["1"] if "bytes" not in name]
    rows = []
    for name in names:
        label = name.replace("going on in the middle", "resuming in the middle")
        for ranks in RANKS:
            milliseconds = [f"{1000 * size['ranks'][str(ranks)][name]:,.1f}" for size in sizes]
            rows.append([f"{label}, {_ranks(ranks)}, ms", *milliseconds])
    for ranks in RANKS:
        memory = [f"{1e-6 * size['ranks'][str(ranks)]['bytes']:,.1f}" for size in sizes]
        rows.append([f"anonymous memory, {_ranks(ranks)}, MB", *memory])
    powers = [f"10{_superscript(len(str(size['samples'])) - 1)}" for size in sizes]
    lines += ["", *table(["samples", *powers], rows)]
    larger = results["larger"]
    text = (
        f"An epoch of {larger['file_bytes'] / 1e9:.1f} GB of volumes (1, 40, 56, 50) float32 from the disk, after the "
        f"file was evicted from the page cache. The limit: {larger['how']}."
    )
    lines += ["", "### Larger than memory", "", *paragraph(text), ""]
    head = ["", "within the limit, MB/s", "without a limit, MB/s", "largest anonymous memory with the imports, MB"]
    keys = ("within", "without", "most_anonymous_bytes")
    rows = [[layout, *[f"{1e-6 * figures[key]:,.0f}" for key in keys]] for layout, figures in larger["layouts"].items()]
    return [*lines, *table(head, rows)]


def _ranks(number: int) -> str:
    return "1 rank" if number == 1 else f"{number} ranks"


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def main() -> None:
    """Measure everything, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--scratch", type=Path, help="folder on a disk for about 12 GB of data; default: the system's")
    options = page.parse(parser, quick="small files")
    sizes, rounds = (SIZES[:3], 1) if options.quick else (SIZES, ROUNDS)
    large, limit = (LARGE.smaller(20), 64 << 20) if options.quick else (LARGE, LIMIT_BYTES)
    results: dict[str, Any] = {"machine": page.machine("torch", "numpy", "h5py"), "num_rounds": rounds}
    context = fresh_processes()
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-", dir=options.scratch) as temporary:
        folder = Path(temporary)
        results["sizes"] = [growth(context, folder, samples, rounds) for samples in sizes]
        results["larger"] = larger_than_memory(context, folder, large, limit, rounds)
    page.publish("growth", results, options.json)


if __name__ == "__main__":
    main()
