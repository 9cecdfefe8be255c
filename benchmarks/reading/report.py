"""The section of docs/reference/benchmarks.md about reading."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.page import describe, paragraph, table
from benchmarks.reading.data_sets import WINDOW_BYTES
from benchmarks.reading.floors import speed_ratio
from benchmarks.reading.peers import PEERS
from benchmarks.reading.readers import HPC_DL


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    return [
        *_introduction(results),
        "",
        *_rates(results),
        "",
        *_from_the_disk(results["cold"]),
        "",
        *_floors(results),
        "",
        *paragraph(
            "Memory is the largest anonymous memory (RssAnon) of a fresh process while it opens the file and reads for "
            "a second, less its memory after the imports and less two batches. The time to the first batch is measured "
            "from the path to the batch, in a fresh process after the imports, with sparse files whose zeros were "
            "never written."
        ),
    ]


def _introduction(results: dict[str, Any]) -> list[str]:
    lines = paragraph(
        "Samples per second of shuffled epochs, from files in the page cache. The files were evicted and read from the "
        "disk before, because large pages left by their writing are faster. Batches are counted as they are delivered: "
        "pairs of tensors, inputs of the stored type; hpc_dl scales them on the device, the others would have to. "
        f"{describe(results['machine'])} Every reader has its own process and reads in turns with the others, "
        f"{results['num_rounds']} times. Rates are medians, ratios are medians of the ratios of the same round. The "
        "first batch of each reader is compared with the raw data. The start of an epoch counts, except for readers by "
        "sample or with worker processes: for these the clock starts with the first batch."
    )
    sets = [
        f"- {name}: {data['samples']:,} × {tuple(data['shape'])} {data['dtype']}, batches of {data['batch']}, "
        f"chunks of {data['chunk']}"
        for name, data in results["sets"].items()
    ]
    ratios = "; ".join(
        f"{name} " + ", ".join(f"{layout} {ratio:.2f}" for layout, ratio in layouts.items() if layout != "contiguous")
        for name, layouts in results["compression"].items()
    )
    few = ", ".join(f"{data['few']:,} samples of {name}" for name, data in results["sets"].items())
    details = paragraph(
        "The samples are smooth random fields with noise (benchmarks/reading/data_sets.py). Compression ratios: "
        f"{ratios}. Other formats hold {few}. zarr and tensorstore have hpc_dl's chunks and are read in windows of "
        f"{WINDOW_BYTES >> 20} MiB."
    )
    return [*lines, "", *sets, "", *details]


def _rates(results: dict[str, Any]) -> list[str]:
    names = list(dict.fromkeys(name for rounds in results["rounds"].values() for name in rounds))
    head = ["", *[f"{name}, samples/s" for name in results["rounds"]]]
    head += [f"{name}: hpc_dl is faster, times" for name in results["rounds"]]
    rows = []
    for name in names:
        rates = [_rate(rounds.get(name)) for rounds in results["rounds"].values()]
        ratios = [_number(speed_ratio(rounds, HPC_DL, [name])) for rounds in results["rounds"].values()]
        rows.append([name, *rates, *(["", "", ""] if name == HPC_DL else ratios)])
    lines = table(head, rows)
    if results["failures"]:
        lines += ["", f"Not shown because they failed: {', '.join(results['failures'])}."]
    not_installed = [peer for peer in PEERS if peer not in results["machine"]]
    if not_installed:
        lines += ["", f"Not installed: {', '.join(not_installed)}."]
    return lines


def _from_the_disk(cold: dict[str, Any]) -> list[str]:
    readers = next(iter(cold.values()))["bytes_per_s"]
    rows = [[name, *[f"{1e-6 * speeds['bytes_per_s'][name]:,.0f}" for speeds in cold.values()]] for name in readers]
    text = (
        "MB/s of one epoch after the file was evicted from the page cache. Opening counts unless the name excludes it."
    )
    return ["### From the disk", "", *paragraph(text), "", *table(["", *cold], rows)]


def _floors(results: dict[str, Any]) -> list[str]:
    names = list(dict.fromkeys(entry["floor"] for entry in results["floors"]))
    entries = {(entry["floor"], entry["set"]): entry for entry in results["floors"]}
    columns = [*results["sets"], ""]
    rows = [
        [name.replace("beside", "in addition to"), *[_floor(entries.get((name, column))) for column in columns]]
        for name in names
    ]
    return ["### Floors", "", *table(["", *results["sets"], "any"], rows)]


def _floor(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return ""
    if entry["reached"] is None:
        return "not measured"
    kind = "at most" if entry["unit"] in ("MB", "s") else "at least"
    unit = "" if entry["unit"] == "times" else f" {entry['unit']}"
    verdict = "reached" if entry["reached"] else "**missed**"
    return f"{_number(entry['value'])} ({kind} {_number(entry['bound'])}{unit}): {verdict}"


def _rate(rounds: list[float] | None) -> str:
    return "" if not rounds else f"{statistics.median(rounds):,.0f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
