"""The section of docs/reference/benchmarks.md about the step."""

from __future__ import annotations

from typing import Any

from benchmarks.page import describe, paragraph, table

#: Descriptions of the ways to train, in the order of the table.
WAYS = {
    "bare": "PyTorch by hand",
    "off": "Lightning, all off",
    "default": "Lightning, defaults",
    "hpc_dl": "hpc_dl",
}


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    lines = paragraph(
        "The cost of a training step in addition to the network's: the same networks, AdamW and cosine schedule, on "
        "batches of 128 1×28×28 images, in one thread. The loop by hand and Lightning get batches that are in memory "
        "as float32. hpc_dl reads bytes from HDF5 and scales them, writes the journal, records for W&B offline, draws "
        "the progress bar, checks for signals and for the end of the job, and runs the watchdog. Lightning with its "
        f"defaults logs the loss with `self.log`. Medians of {results['rounds']} processes for each, in turns; a "
        f"process reports the median of its steps. {describe(results['machine'])} Other programs share the cores, so "
        "CPU time (of all threads) is more reliable than wall time."
    )
    rows = []
    for network, ways in results["networks"].items():
        for way, seconds in ways.items():
            cells = [f"{network}, {WAYS[way]}"]
            for kind in ("cpu", "quiet_cpu", "wall"):
                cells += [f"{1e6 * seconds[kind]:,.0f}", f"{seconds[kind] / ways['bare'][kind]:.2f}"]
            rows.append(cells)
    head = ["", "CPU, µs", "times by hand", "fastest tenth, µs", "times by hand", "wall, µs", "times by hand"]
    return [*lines, "", *table(head, rows)]
