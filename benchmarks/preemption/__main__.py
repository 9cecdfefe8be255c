"""Measure everything about preemption: ``python -m benchmarks.preemption``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import page, preemption
from benchmarks.preemption.checkpoint_writing import checkpoint_times
from benchmarks.preemption.restarts import stops_and_starts
from benchmarks.preemption.steps import LONG, SHORT, overhead

CHECKPOINT_BYTES = (1_000_000, 100_000_000)
PAIRS, STOPS = 5, 5


def main() -> None:
    """Measure, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preemption", description=preemption.__doc__)
    options = page.parse(parser, quick="one short training of each kind")
    sizes, ranks, pairs, stops, long, short = list(CHECKPOINT_BYTES), [1, 2], PAIRS, STOPS, LONG, SHORT
    if options.quick:
        sizes, ranks, pairs, stops = [CHECKPOINT_BYTES[0]], [1], 1, 2
        long, short = LONG | {"width": 64, "measure": 100}, SHORT | {"measure": 100}
    results: dict[str, Any] = {"machine": page.machine("torch", "pytorch-lightning")}
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
        folder = Path(temporary)
        results["long"] = [overhead(folder, long, number, pairs) for number in ranks]
        results["short"] = [overhead(folder, short, number, pairs) for number in ranks]
        results["stops"] = [stops_and_starts(folder, size, stops) for size in sizes]
        results["checkpoints"] = [checkpoint_times(folder, size) for size in sizes]
    page.publish("preemption", results, options.json)


if __name__ == "__main__":
    main()
