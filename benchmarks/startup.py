"""How long the commands that need no torch take to answer: medians, in one run, with the machine named."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
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
    """Measure, and write docs/benchmarks.md."""
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    bare = seconds([sys.executable, "-c", "pass"])
    rows = [("python -c pass", bare, 1.0)]
    for command in COMMANDS:
        median = seconds([hpc_dl, *command.split()])
        rows.append((f"hpc-dl {command}", median, median / bare))
    torch = seconds([sys.executable, "-c", "import torch"])
    rows.append(("python -c 'import torch', for comparison", torch, torch / bare))
    lines = [
        "# Benchmarks",
        "",
        "*Made by `make bench`.*",
        "",
        "## Start-up",
        "",
        f"Median of {REPEATS}, wall time, warm cache. Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {_cores()}.",
        "",
        "| command | ms | times bare Python |",
        "| --- | ---: | ---: |",
        *[f"| `{name}` | {1000 * median:.0f} | {ratio:.1f} |" for name, median, ratio in rows],
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _cores() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{len(names)} cores of {names[0]}" if names else "unknown processor"


if __name__ == "__main__":
    main()
