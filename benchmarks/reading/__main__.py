"""Measure all readers on all data sets: ``python -m benchmarks.reading``."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from benchmarks import page, reading
from benchmarks.reading import conditions, floors, peers
from benchmarks.reading.data_sets import (
    ALL,
    QUICK,
    DataSet,
    chunked_layouts,
    compression_ratio,
    write_hdf5,
    write_raw,
)
from benchmarks.reading.processes import ReaderProcess, all_readers, fresh_processes

ROUNDS = 5
# Seconds of a turn; the slow readers get more.
FAST_TURN_S, SLOW_TURN_S = 0.5, 1.0
FAST = ("hpc_dl", "np.memmap", "tensor", "zarr")
NOT_IN_QUICK = ("litdata", "mosaicml", "tensordict", "naive h5py, gzip")
MEMORY_LAYOUTS = ("contiguous", "chunked", "gzip", "zstd")


def measure_rates(
    context: ForkServerContext, folder: Path, sets: Sequence[DataSet], names: Sequence[str], rounds: int, pace: float
) -> dict[str, Any]:
    """Measure samples per second; the readers take turns, so that all meet the same conditions.

    Args:
        context: starts the processes.
        folder: of the data.
        sets: the data sets.
        names: of the readers.
        rounds: turns of each reader on each data set.
        pace: factor of the duration of a turn.
    """
    rates: dict[str, Any] = {}
    failures: dict[str, str] = {}
    running = {name: ReaderProcess(context, name, folder) for name in names}
    try:
        for data in sets:
            rounds_of_set: floors.Rounds = {name: [] for name in running}
            for number in range(rounds):
                for name, process in list(running.items()):
                    seconds = FAST_TURN_S if name.startswith(FAST) else SLOW_TURN_S
                    try:
                        rounds_of_set[name].append(process.measure(data, pace * seconds))
                    except RuntimeError as error:
                        failures[name] = str(error)
                        print(f"left out: {error}", file=sys.stderr)
                        del running[name], rounds_of_set[name]
                print(f"{data.name}: round {number + 1} of {rounds}", file=sys.stderr)
            rates[data.name] = rounds_of_set
    finally:
        for process in running.values():
            process.end()
    return {"rounds": rates, "failures": failures}


def write_all(folder: Path, data: DataSet, peer_names: Sequence[str]) -> dict[str, float]:
    """Store a data set in every format; return the compression ratio of each HDF5 layout."""
    layouts = ("contiguous", *chunked_layouts())
    write_raw(folder, data)
    for layout in layouts:
        write_hdf5(folder, data, layout)
    for peer in peer_names:
        peers.write(folder, data, peer)
    print(f"{data.name}: written", file=sys.stderr)
    return {layout: compression_ratio(folder, data, layout) for layout in layouts}


def main() -> None:
    """Measure everything, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=reading.__doc__)
    parser.add_argument("--scratch", type=Path, help="folder on a disk for about 8 GB of data; default: the system's")
    options = page.parse(parser, quick="small data sets and few peers")
    sets, rounds, pace = (QUICK, 1, 0.1) if options.quick else (ALL, ROUNDS, 1.0)
    names = [name for name in all_readers() if not (options.quick and name.startswith(NOT_IN_QUICK))]
    versions = peers.installed_versions()
    peer_names = [peer for peer in versions if any(name.startswith(peer) for name in names)]
    versions = {"hdf5plugin": importlib.metadata.version("hdf5plugin"), **versions}
    results: dict[str, Any] = {"machine": page.machine("torch", "numpy", "h5py") | versions, "num_rounds": rounds}
    sizes = conditions.FIRST_BATCH_SAMPLES[: 3 if options.quick else None]
    results["sets"] = {data.name: vars(data) for data in sets}
    context = fresh_processes()
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-", dir=options.scratch) as temporary:
        folder = Path(temporary)
        results["first_batch"] = conditions.first_batches(context, folder, sizes, rounds)
        results["compression"] = {data.name: write_all(folder, data, peer_names) for data in sets}
        # The pages of a file that was just written differ in size, and large ones are read faster
        # by a third. After this, all readers get pages that were read from the disk.
        for path in filter(Path.is_file, folder.rglob("*")):
            conditions.evict(path)
        results |= measure_rates(context, folder, sets, names, rounds, pace)
        results["memory"] = {data.name: conditions.memory(context, folder, data, MEMORY_LAYOUTS, pace) for data in sets}
        results["cold"] = {data.name: conditions.cold(context, folder, data, rounds) for data in sets}
    results["floors"] = floors.evaluate(results)
    page.publish("reading", results, options.json)


if __name__ == "__main__":
    main()
