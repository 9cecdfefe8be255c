"""The time to stop a training by a signal, and to start it again."""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.preemption.steps import LONG, prepare

TIMEOUT_S = 120.0


def stops_and_starts(folder: Path, ballast: int, times: int) -> dict[str, Any]:
    """Stop a training by SIGUSR2 and start it again, several times.

    Args:
        folder: for the data and the run.
        ballast: additional bytes in each checkpoint.
        times: number of stops, at least 2.
    """
    run = prepare(folder, LONG | {"ballast": ballast}, 1, max_epochs=100_000)
    stops: list[float] = []
    starts: list[dict[str, float]] = []
    for number in range(times):
        times_file = folder / f"times-{ballast}-{number}.json"
        start = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.preemption.timed_start", str(run.path), str(times_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not times_file.exists():
                running = process.poll() is None and time.time() < start + TIMEOUT_S
                assert running, run.log(0).read_text()
                time.sleep(0.01)
            noted = json.loads(times_file.read_text())
            time.sleep(0.5 + 0.01 * number)  # each time to another point within a step
            stop = time.perf_counter()
            process.send_signal(signal.SIGUSR2)
            status = process.wait(TIMEOUT_S)
            stops.append(time.perf_counter() - stop)
            assert status == 75, (status, run.log(0).read_text())
        finally:
            process.kill()
            process.wait()
        if number:  # the first start has no checkpoint to resume from
            starts.append(_parts_of_start(noted, start))
    timings = json.loads(run.timings.read_text())
    return {
        "ballast_bytes": ballast,
        "stop_s": statistics.median(stops),
        "slowest_stop_s": max(stops),
        "checkpoint_s": timings["checkpoint_s"],
        "start_s": {name: statistics.median([start[name] for start in starts]) for name in starts[0]},
    }


def _parts_of_start(times: dict[str, float], start: float) -> dict[str, float]:
    """The seconds of each part of a start, and of all together."""
    known = {
        "Python": times["program"] - start,
        "imports": times["imports"] - times["program"],
        "data": times["end of open_spec"] - times["start of open_spec"],
        "verifying the checkpoint": times["end of newest_intact"] - times["start of newest_intact"],
        "whether it fits": times["end of examine"] - times["start of examine"],
        "first step": times["first step"] - times["first batch"],
    }
    total = times["first step"] - start
    return {**known, "Lightning's setup and the restoring": total - sum(known.values()), "together": total}
