"""How long the commands that need no torch take to answer: medians, in one run, with the machine
named."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.page import machine, table, told, write_section

REPEATS = 15
COMMANDS = ["--help", "train --help", "submit --help", "status --help", "models", "data list", "results --help"]


def seconds(arguments: list[str]) -> float:
    """Median wall time of a command, in seconds."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run(arguments, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure, and write the section of docs/benchmarks.md."""
    facts = machine()
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    bare = seconds([sys.executable, "-c", "pass"])
    rows = [("python -c pass", bare, 1.0)]
    for command in COMMANDS:
        median = seconds([hpc_dl, *command.split()])
        rows.append((f"hpc-dl {command}", median, median / bare))
    torch = seconds([sys.executable, "-c", "import torch"])
    rows.append(("python -c 'import torch', for comparison", torch, torch / bare))
    lines = [
        f"Median of {REPEATS}, wall time, warm cache. {told(facts)}",
        "",
        *table(
            ["command", "ms", "times bare Python"],
            [[f"`{name}`", f"{1000 * median:.0f}", f"{ratio:.1f}"] for name, median, ratio in rows],
        ),
    ]
    write_section("Start-up", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
