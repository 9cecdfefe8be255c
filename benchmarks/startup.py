"""The CPU time of commands on a login node: those that only read, and those that prepare runs.

``python -m benchmarks.startup`` writes benchmarks/startup.json and a section of
docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table

REPEATS = 15
BARE = "python -c pass"
TORCH = "python -c 'import torch'"
COMMANDS = [
    "--help",
    "train --help",
    "models",
    "data list",
    "status",
    "results",
    "validate cnn-digits",
    "submit cnn-digits --site local --dry-run",
]


def median_seconds(argv: list[str], repeats: int, folder: Path) -> dict[str, float]:
    """Return the medians of the wall and the CPU time of a command in a folder."""
    times: dict[str, list[float]] = {"wall": [], "cpu": []}
    for _ in range(repeats):
        start, before = time.perf_counter(), os.times()
        subprocess.run(argv, check=True, capture_output=True, cwd=folder)
        after = os.times()
        times["wall"].append(time.perf_counter() - start)
        times["cpu"].append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {name: statistics.median(values) for name, values in times.items()}


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    text = (
        f"Medians of {results['repeats']} runs with warm caches. `status` and `results` read a folder without runs; "
        f"the section on many runs has one with 10,000. {describe(results['machine'])}"
    )
    seconds = results["seconds"]
    rows = [
        [f"`{name}`", f"{1000 * it['wall']:.0f}", f"{1000 * it['cpu']:.0f}", f"{it['cpu'] / seconds[BARE]['cpu']:.1f}",
         f"{it['cpu'] / seconds[TORCH]['cpu']:.2f}"]
        for name, it in seconds.items()
    ]  # fmt: skip
    head = ["command", "wall, ms", "CPU, ms", "times bare Python", "times `import torch`"]
    return [*paragraph(text), "", *table(head, rows)]


def main() -> None:
    """Measure every command, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    options = page.parse(parser, quick="one run of each command")
    repeats = 1 if options.quick else REPEATS
    results: dict[str, Any] = {"machine": page.machine(), "repeats": repeats}
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    commands = {
        BARE: [sys.executable, "-c", "pass"],
        **{f"hpc-dl {command}": [hpc_dl, *command.split()] for command in COMMANDS},
        TORCH: [sys.executable, "-c", "import torch"],
    }
    with tempfile.TemporaryDirectory() as folder:
        results["seconds"] = {name: median_seconds(argv, repeats, Path(folder)) for name, argv in commands.items()}
    page.publish("startup", results, options.json)


if __name__ == "__main__":
    main()
