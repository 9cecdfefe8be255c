"""How fast shuffled batches come out of HDF5: against the limits, scripts by hand, and other
formats.

``python -m benchmarks.reading`` writes benchmarks/reading.json and a section of docs/benchmarks.md.
``--quick`` takes small data sets and few peers, to see that it runs: its figures mean nothing. With
``--json FILE`` they go there only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from benchmarks import reading_conditions, reading_peers
from benchmarks.page import machine, table, told, write_section
from benchmarks.reading_conditions import OURS
from benchmarks.reading_runs import Running, all_ways, fresh_processes
from benchmarks.reading_sets import ALL, QUICK, WINDOW_BYTES, DataSet, codecs, ratio, write_hdf5, write_raw

RESULTS = Path(__file__).with_name("reading.json")
ROUNDS = 5
FAST_S, SLOW_S = 0.5, 1.0  # of a turn
LAYOUTS = ("contiguous", *codecs())
QUICK_WITHOUT = ("litdata", "mosaicml", "tensordict", "naive h5py, gzip")
NAIVE = ("naive h5py, 0 workers", "naive h5py, 2 workers")
GOOD_NAIVE = ("good naive h5py, 0 workers", "good naive h5py, 2 workers")

Rounds = dict[str, list[float]]


def measure(
    context: ForkServerContext, folder: Path, sets: Sequence[DataSet], names: Sequence[str], rounds: int, pace: float
) -> dict[str, Any]:
    """Samples per second of each way on each data set; the ways by turns, so that all meet the same
    machine."""
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    running = {name: Running(context, name, folder) for name in names}
    try:
        for data in sets:
            found: Rounds = {name: [] for name in running}
            for number in range(rounds):
                for name, way in list(running.items()):
                    fast = name.startswith(("hpc_dl", "np.memmap", "tensor", "zarr"))
                    try:
                        found[name].append(way.measure(data, pace * (FAST_S if fast else SLOW_S)))
                    except RuntimeError as error:
                        failures[name] = str(error)
                        print(f"left out: {error}", file=sys.stderr)
                        del running[name], found[name]
                print(f"{data.name}: round {number + 1} of {rounds}", file=sys.stderr)
            results[data.name] = found
    finally:
        for way in running.values():
            way.end()
    return {"rounds": results, "failures": failures}


def write_all(folder: Path, data: DataSet, peers: Sequence[str]) -> dict[str, float]:
    """Store a data set in every way; how many times smaller each HDF5 layout is."""
    write_raw(folder, data)
    for layout in LAYOUTS:
        write_hdf5(folder, data, layout)
    for peer in peers:
        reading_peers.write(folder, data, peer)
    print(f"{data.name}: written", file=sys.stderr)
    return {layout: ratio(folder, data, layout) for layout in LAYOUTS}


# --- floors -------------------------------------------------------------------------------------


def times(rounds: Rounds, name: str, others: Sequence[str]) -> float | None:
    """How many times faster one is than the best of some others, the median of the rounds."""
    others = [other for other in others if other in rounds]
    if name not in rounds or not others:
        return None
    return statistics.median(own / max(rest) for own, *rest in zip(*(rounds[n] for n in (name, *others)), strict=True))


def floors(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked for, what was measured, and whether it is enough."""
    found: list[dict[str, Any]] = []

    def floor(
        what: str, where: str, least: float, value: float | None, unit: str = "times", most: bool = False
    ) -> None:
        reached = None if value is None else (value <= least if most else value >= least)
        found.append({"floor": what, "set": where, "bound": least, "value": value, "unit": unit, "reached": reached})

    for name, rounds in results["rounds"].items():
        by_set = {"A": (0.85, 300, 40), "B": (0.85, 75, 10), "C": (0.8, 10, 3)}[name]
        floor("contiguous, of np.memmap", name, by_set[0], times(rounds, OURS, ["np.memmap"]))
        floor("contiguous, of a tensor in memory", name, 0.7, times(rounds, OURS, ["tensor in memory"]))
        floor("contiguous, of the better naive one", name, by_set[1], times(rounds, OURS, NAIVE))
        floor("contiguous, of the better good naive one", name, by_set[2], times(rounds, OURS, GOOD_NAIVE))
        for codec in ("zstd", "bitshuffle"):
            floor(f"{codec}, of tensorstore's zstd", name, 1.0, times(rounds, f"hpc_dl, {codec}", ["tensorstore"]))
        if name == "A":
            floor("gzip, of the better naive one on contiguous", name, 60, times(rounds, "hpc_dl, gzip", NAIVE))
            gzip = statistics.median(rounds["hpc_dl, gzip"])
            floor("gzip", name, 500_000, gzip, "samples/s")
        for peer in reading_peers.PACKAGES:
            by_sample = peer in ("litdata", "webdataset", "mosaicml-streaming")
            ways = [way for way in rounds if way == peer or way.startswith(f"{peer},")]
            floor(f"contiguous, of {peer}", name, 100 if by_sample and name == "A" else 1, times(rounds, OURS, ways))
        for workers in (0, 2):
            way = f"__getitems__ h5py, {workers} workers"
            floor(f"contiguous, of {way}", name, 1, times(rounds, OURS, [way]))
        floor("from the disk, of dd", name, 0.7, results["cold"][name]["times_dd"])
        for layout, size in results["memory"][name].items():
            floor(f"memory beside the batches, {layout}", name, 64, size / 1e6, "MB", most=True)
    for first in results["first_batch"]:
        size = f"{first['bytes'] / 1e9:.3g} GB" if first["bytes"] > 1e8 else f"{first['bytes'] / 1e3:,.0f} kB"
        floor(f"first batch of {size}", "", 0.1, first["first_batch_s"], "s", most=True)
    return found


# --- the page -----------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    few = ", ".join(f"{data['few']:,} of {name}" for name, data in results["sets"].items())
    lines = [
        "Samples per second of shuffled epochs from files in the system's cache, read from the disk before (not as "
        "their writing left them), batches as they are delivered: pairs of tensors, inputs of the stored type; hpc_dl "
        "scales them on the device, the others would have to do it, too. "
        f"{told(results['machine'])} Every way has a process of its own and reads by turns with the others, "
        f"{results['num_rounds']} times; medians, ratios of the same round. The first batch of each is compared with "
        "the raw data. An epoch's start counts, except for what reads sample by sample or in worker processes: there "
        "the clock begins with the first batch.",
        "",
        *[
            f"- {name}: {data['samples']:,} × {tuple(data['shape'])} {data['dtype']}, batches of {data['batch']}, "
            f"chunks of {data['chunk']}"
            for name, data in results["sets"].items()
        ],
        "",
        "The samples are smooth random fields with noise (benchmarks/reading_sets.py). Bytes for each byte of a file: "
        + "; ".join(
            f"{name} " + ", ".join(f"{layout} {value:.2f}" for layout, value in found.items() if layout != "contiguous")
            for name, found in results["compression"].items()
        )
        + f". Other formats hold {few}; zarr and tensorstore have hpc_dl's chunks, read in windows of "
        f"{WINDOW_BYTES >> 20} MiB.",
        "",
    ]
    names = list(dict.fromkeys(name for rounds in results["rounds"].values() for name in rounds))
    head = ["", *[f"{name}, samples/s" for name in results["rounds"]]]
    head += [f"{name}: hpc_dl is so many times faster" for name in results["rounds"]]
    rows = []
    for name in names:
        rates = [_rate(rounds.get(name)) for rounds in results["rounds"].values()]
        ratios = [_number(times(rounds, OURS, [name])) for rounds in results["rounds"].values()]
        rows.append([name, *rates, *(["", "", ""] if name == OURS else ratios)])
    lines += table(head, rows)
    if results["failures"]:
        lines += ["", f"Left out since they failed: {', '.join(results['failures'])}."]
    absent = [peer for peer in reading_peers.PACKAGES if peer not in results["machine"]]
    if absent:
        lines += ["", f"Not installed: {', '.join(absent)}."]
    lines += [
        "",
        "### From the disk",
        "",
        "MB/s of one epoch, opening included but where it says so, after the file was evicted.",
        "",
    ]
    ways = next(iter(results["cold"].values()))["bytes_per_s"]
    by_way = [
        [way, *[f"{1e-6 * found['bytes_per_s'][way]:,.0f}" for found in results["cold"].values()]] for way in ways
    ]
    lines += table(["", *results["cold"]], by_way)
    lines += ["", "### Floors", ""]
    names = list(dict.fromkeys(entry["floor"] for entry in results["floors"]))
    by_place = {(entry["floor"], entry["set"]): entry for entry in results["floors"]}
    places = [*results["sets"], ""]
    rows = [[name, *[_judged(by_place.get((name, place))) for place in places]] for name in names]
    lines += table(["", *results["sets"], "any"], rows)
    lines += [
        "",
        "Memory is anonymous memory (RssAnon) of a fresh process at its most while it opens the file and reads for a "
        "second, less what it had after the imports and less two batches. First batches: from the path to the batch, "
        "in a fresh process after the imports, of sparse files whose zeros were never written.",
    ]
    return lines


def _rate(rounds: list[float] | None) -> str:
    return "" if not rounds else f"{statistics.median(rounds):,.0f}"


def _judged(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    if entry["reached"] is None:
        return "not measured"
    bound = "at most" if entry["unit"] in ("MB", "s") else "at least"
    unit = "" if entry["unit"] == "times" else f" {entry['unit']}"
    judgment = "reached" if entry["reached"] else "**missed**"
    return f"{_number(entry['value'])} ({bound} {_number(entry['bound'])}{unit}): {judgment}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data sets, few peers: does it run?")
    parser.add_argument("--json", type=Path, help="write the figures there, and nothing on the page")
    parser.add_argument("--scratch", type=Path, help="folder for about 8 GB of data, on a disk; else the system's")
    options = parser.parse_args()
    if options.quick and options.json is None:
        parser.error("--quick needs --json FILE")
    sets, rounds, pace = (QUICK, 1, 0.1) if options.quick else (ALL, ROUNDS, 1.0)
    names = [name for name in all_ways() if not (options.quick and name.startswith(QUICK_WITHOUT))]
    peers = [peer for peer in reading_peers.versions() if any(name.startswith(peer) for name in names)]
    versions = {"hdf5plugin": importlib.metadata.version("hdf5plugin"), **reading_peers.versions()}
    results: dict[str, Any] = {"machine": machine("torch", "numpy", "h5py") | versions, "num_rounds": rounds}
    sizes = reading_conditions.FIRST_BATCH_SAMPLES[: 3 if options.quick else None]
    results["sets"] = {data.name: vars(data) for data in sets}
    context = fresh_processes()
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-", dir=options.scratch) as temporary:
        folder = Path(temporary)
        results["first_batch"] = reading_conditions.first_batches(context, folder, sizes, rounds)
        results["compression"] = {data.name: write_all(folder, data, peers) for data in sets}
        # What was just written lies in memory in pages whose size depends on how it was written;
        # large ones are read faster by a third: all readers get what comes from the disk.
        for path in filter(Path.is_file, folder.rglob("*")):
            reading_conditions.evict(path)
        results |= measure(context, folder, sets, names, rounds, pace)
        layouts = ("contiguous", "chunked", "gzip", "zstd")
        results["memory"] = {d.name: reading_conditions.memory(context, folder, d, layouts, pace) for d in sets}
        results["cold"] = {data.name: reading_conditions.cold(context, folder, data, rounds) for data in sets}
    results["floors"] = floors(results)
    (options.json or RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    lines = page(results)
    if options.json is None:
        write_section("Reading", lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
