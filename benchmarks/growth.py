"""What grows with the data set, and what must not: opening, an epoch's start, going on in the
middle, memory.

``python -m benchmarks.growth`` writes benchmarks/growth.json and a section of docs/benchmarks.md.
``--quick`` stops at 10⁵ samples; its figures go to ``--json FILE`` only.
"""

from __future__ import annotations

import argparse
import json
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

from benchmarks.page import machine, table, told, write_section
from benchmarks.reading_conditions import anonymous_bytes, evict, in_fresh_process
from benchmarks.reading_runs import fresh_processes
from benchmarks.reading_sets import DataSet, hdf5, write_hdf5, write_raw, write_sparse
from benchmarks.reading_ways import epochs_of, ours

RESULTS = Path(__file__).with_name("growth.json")
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
RANKS = (1, 2, 4)
BATCH = 128
ROUNDS = 3
LIMIT_BYTES = 384 << 20
LARGE = DataSet("large", 8_000, (1, 40, 56, 50), "float32", 8, 1, 8_000)  # 3.6 GB
CGROUPS = Path("/sys/fs/cgroup")


# --- growth -------------------------------------------------------------------------------------


def starts(path: Path, ranks: int) -> dict[str, float]:
    """Seconds until the first batch in each situation, for the last of some ranks; bytes of
    anonymous memory."""
    from hpc_dl.data.datamodule import HDF5DataModule

    def data_module() -> Any:
        module = HDF5DataModule(path, batch_size=BATCH)
        if ranks > 1:
            # What the data module asks a Trainer for; no process group is needed to read one's
            # part.
            root = SimpleNamespace(type="cpu")
            module.trainer = SimpleNamespace(  # type: ignore[assignment]
                global_rank=ranks - 1, world_size=ranks, strategy=SimpleNamespace(root_device=root)
            )
        return module

    before = anonymous_bytes(os.getpid())
    clock = Clock()
    epoch = epochs_of(loader := data_module().train_dataloader())
    num_batches = len(loader)
    found = {"opening": clock.lap()}
    for number in (0, 1):
        batches = epoch(number)
        next(batches)
        found["first batch" if number == 0 else "start of the next epoch"] = clock.lap()
        if number == 0:
            for _, _ in zip(range(100), batches, strict=False):
                pass
            del batches  # an epoch is given up, as at the end of one
            clock.lap()
    del batches, epoch, loader
    resumed = data_module()
    resumed.start_at(3, num_batches // 2)
    clock.lap()
    next(epochs_of(resumed.train_dataloader())(3))
    found["going on in the middle, opening included"] = clock.lap()
    return found | {"bytes": float(anonymous_bytes(os.getpid()) - before)}


class Clock:
    """Seconds between two looks at it."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def growth(context: ForkServerContext, folder: Path, samples: int, rounds: int) -> dict[str, Any]:
    """The medians for one size and each number of ranks."""
    path = folder / f"{samples}.h5"
    write_sparse(path, samples)
    found: dict[str, Any] = {"samples": samples, "file_bytes": path.stat().st_size, "ranks": {}}
    for ranks in RANKS:
        measured = []
        for _ in range(rounds):
            times, most = in_fresh_process(context, starts, path, ranks)
            measured.append(times)
        found["ranks"][ranks] = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
        found["ranks"][ranks]["most_bytes"] = most
    path.unlink()
    print(f"{samples:,} samples", file=sys.stderr)
    return found


# --- larger than memory -------------------------------------------------------------------------


@contextmanager
def memory_limit(size: int) -> Iterator[str]:
    """Limit this process, the file pages that it reads included where a cgroup can be made; says
    what was used."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        own |= {name: place.lstrip("/") for name in controllers.split(",")}
    candidates = [
        (CGROUPS / "memory" / own.get("memory", ""), "memory.limit_in_bytes", "cgroup (v1)"),
        (CGROUPS / own.get("", ""), "memory.max", "cgroup (v2)"),
    ]
    for parent, limit, name in candidates:
        group = parent / f"hpc-dl-bench-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(size))
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
        yield f"{size >> 20} MiB of private memory (RLIMIT_DATA); no cgroup could be made, the cache is not limited"
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def epoch_within(limit: int | None, folder: Path, data: DataSet, layout: str) -> dict[str, Any]:
    """An epoch of a file that no memory holds; bytes per second."""
    evict(hdf5(folder, data, layout))

    def read() -> float:
        clock, samples = Clock(), 0
        for x, _ in ours(folder, data, layout=layout)(0):
            samples += len(x)
        return samples * data.sample_bytes / clock.lap()

    if limit is None:
        return {"how": "no limit", "bytes_per_s": read()}
    with memory_limit(limit) as how:
        return {"how": how, "bytes_per_s": read()}


def larger(context: ForkServerContext, folder: Path, data: DataSet, limit: int, rounds: int) -> dict[str, Any]:
    """Reading a file of several times the memory, and the same with memory to spare."""
    write_raw(folder, data)
    found: dict[str, Any] = {"file_bytes": data.samples * data.sample_bytes, "limit_bytes": limit, "layouts": {}}
    for layout in ("contiguous", "zstd"):
        write_hdf5(folder, data, layout)
        measured: dict[str, list[float]] = {"within": [], "without": []}
        most = 0
        for _ in range(rounds):
            for name, bound in (("within", limit), ("without", None)):
                answer, anonymous = in_fresh_process(context, epoch_within, bound, folder, data, layout)
                measured[name].append(answer["bytes_per_s"])
                if bound:
                    found["how"], most = answer["how"], max(most, anonymous)
        hdf5(folder, data, layout).unlink()
        found["layouts"][layout] = {name: statistics.median(values) for name, values in measured.items()}
        found["layouts"][layout]["most_anonymous_bytes"] = most
    (folder / f"{data.name}.raw").unlink()
    return found


# --- the page -----------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    sizes = results["sizes"]
    lines = [
        "Contiguous files of 28×28 bytes a sample and one byte a label, sparse: their zeros were never written. "
        f"Batches of {BATCH}; each figure from fresh processes, imports done, medians of {results['num_rounds']}. With "
        f"several ranks: the last of them. {told(results['machine'])}",
        "",
    ]
    names = [name for name in sizes[0]["ranks"][1] if "bytes" not in name]
    rows = []
    for name in names:
        for ranks in RANKS:
            seconds = [f"{1000 * size['ranks'][ranks][name]:,.1f}" for size in sizes]
            rows.append([f"{name}, {ranks} {'rank' if ranks == 1 else 'ranks'}, ms", *seconds])
    for ranks in RANKS:
        memory = [f"{1e-6 * size['ranks'][ranks]['bytes']:,.1f}" for size in sizes]
        rows.append([f"anonymous memory, {ranks} {'rank' if ranks == 1 else 'ranks'}, MB", *memory])
    lines += table(["samples", *[f"10{_raised(len(str(size['samples'])) - 1)}" for size in sizes]], rows)
    large = results["larger"]
    lines += [
        "",
        "### Larger than memory",
        "",
        f"An epoch of {large['file_bytes'] / 1e9:.1f} GB of volumes (1, 40, 56, 50) float32 from the disk, evicted "
        f"before. The limit: {large['how']}.",
        "",
    ]
    lines += table(
        ["", "within the limit, MB/s", "without, MB/s", "anonymous memory at its most, the imports' included, MB"],
        [
            [layout, *[f"{1e-6 * found[key]:,.0f}" for key in ("within", "without", "most_anonymous_bytes")]]
            for layout, found in large["layouts"].items()
        ],
    )
    return lines


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files: does it run?")
    parser.add_argument("--json", type=Path, help="write the figures there, and nothing on the page")
    parser.add_argument("--scratch", type=Path, help="folder for about 12 GB of data, on a disk; else the system's")
    options = parser.parse_args()
    if options.quick and options.json is None:
        parser.error("--quick needs --json FILE")
    sizes, rounds = (SIZES[:3], 1) if options.quick else (SIZES, ROUNDS)
    large, limit = (LARGE.smaller(20), 64 << 20) if options.quick else (LARGE, LIMIT_BYTES)
    results: dict[str, Any] = {"machine": machine("torch", "numpy", "h5py"), "num_rounds": rounds}
    context = fresh_processes()
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-", dir=options.scratch) as temporary:
        folder = Path(temporary)
        results["sizes"] = [growth(context, folder, samples, rounds) for samples in sizes]
        results["larger"] = larger(context, folder, large, limit, rounds)
    lines = page(results)
    (options.json or RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.json is None:
        write_section("Growth", lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
