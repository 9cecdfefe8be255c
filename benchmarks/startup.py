"""The run time of the commands that need no torch.

``python -m benchmarks.startup`` writes benchmarks/startup.json and a section of
docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table

REPEATS = 15
COMMANDS = ["--help", "train --help", "submit --help", "status --help", "models", "data list", "results --help"]


def median_seconds(argv: list[str], repeats: int) -> float:
    """Return the median wall time of a command."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    text = f"Median of {results['repeats']} runs, wall time, warm cache. {describe(results['machine'])}"
    bare = results["seconds"]["python -c pass"]
    rows = [
        [f"`{name}`", f"{1000 * seconds:.0f}", f"{seconds / bare:.1f}"] for name, seconds in results["seconds"].items()
    ]
    return [*paragraph(text), "", *table(["command", "ms", "times bare Python"], rows)]


def main() -> None:
    """Measure every command, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    options = page.parse(parser, quick="one run of each command")
    repeats = 1 if options.quick else REPEATS
    results: dict[str, Any] = {"machine": page.machine(), "repeats": repeats}
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        **{f"hpc-dl {command}": [hpc_dl, *command.split()] for command in COMMANDS},
        "python -c 'import torch'": [sys.executable, "-c", "import torch"],
    }
    results["seconds"] = {name: median_seconds(argv, repeats) for name, argv in commands.items()}
    page.publish("startup", results, options.json)


if __name__ == "__main__":
    main()
