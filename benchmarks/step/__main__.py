"""Measure the steps of all networks in all ways: ``python -m benchmarks.step``."""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks import experiments, page, step
from benchmarks.step.networks import NETWORKS, OPTIMIZER, SCHEDULE
from benchmarks.step.report import WAYS
from benchmarks.step.training import BATCH

ROUNDS = 7
SIZES = {"train": 60_000, "val": 256, "test": 256}
TIMEOUT_S = 300.0


def prepare(folder: Path, file: Path, network: str, steps: int) -> Path:
    """Create the run folder of a network's training."""
    model = NETWORKS[network].model
    content = experiments.configuration(
        file,
        data={"batch_size": BATCH},
        model=model,
        optimizer=OPTIMIZER,
        schedule=SCHEDULE,
        trainer={"max_epochs": None, "max_steps": steps, "log_every_n_steps": 50},
        wandb={"mode": "offline"},
    )
    if "class" in model:  # it brings its own optimizer
        del content["optimizer"], content["schedule"]
    folder.mkdir(parents=True)
    return experiments.prepare_run(folder, content).path


def measure(folder: Path, file: Path, network: str, way: str, steps: int) -> dict[str, float]:
    """Return the median seconds of a step, in a process with its own terminal."""
    run = prepare(folder, file, network, steps)
    results = run / "times.json"
    terminal, terminal_of_process = pty.openpty()
    output: list[bytes] = []

    def read_output() -> None:
        while True:
            try:
                output.append(os.read(terminal, 65536))
            except OSError:  # the process has closed its end
                return

    reader = threading.Thread(target=read_output, daemon=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.step.training", network, way, str(run), str(results)],
        stdin=terminal_of_process,
        stdout=terminal_of_process,
        stderr=terminal_of_process,
        start_new_session=True,
    )
    os.close(terminal_of_process)
    reader.start()
    try:
        process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
    reader.join(1.0)
    os.close(terminal)
    assert results.exists(), b"".join(output).decode(errors="replace")
    intervals = json.loads(results.read_text())
    seconds = {}
    for kind in ("cpu", "wall"):
        values = sorted(interval[kind] for interval in intervals)
        seconds[kind] = statistics.median(values)
        seconds[f"quiet_{kind}"] = statistics.median(values[: max(1, len(values) // 10)])
    return seconds


def main() -> None:
    """Measure everything or a part of it, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=step.__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="needs bare for the page")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = page.parse(parser, quick="one round of the small MLP")
    sizes, most_steps = SIZES, max(network.steps for network in NETWORKS.values())
    if options.quick:
        options.networks, options.rounds = ["small MLP"], 1
        sizes, most_steps = {**SIZES, "train": 6_000}, 300
    results: dict[str, Any] = {"machine": page.machine("torch", "pytorch-lightning"), "rounds": options.rounds}
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
        folder = Path(temporary)
        file = folder / "noise.h5"
        experiments.write_noise_images(file, sizes, (1, 28, 28))
        for number in range(options.rounds):
            for network in options.networks:
                for way in options.ways:
                    steps = min(NETWORKS[network].steps, most_steps)
                    seconds = measure(folder / f"{network}-{way}-{number}", file, network, way, steps)
                    times.setdefault((network, way), []).append(seconds)
                    figures = " ".join(f"{kind} {1e6 * value:.0f}" for kind, value in seconds.items())
                    print(network, way, figures, file=sys.stderr)
    results["networks"] = {
        network: {
            way: {
                kind: statistics.median(seconds[kind] for seconds in times[network, way])
                for kind in times[network, way][0]
            }
            for way in options.ways
        }
        for network in options.networks
    }
    page.publish("step", results, options.json)


if __name__ == "__main__":
    main()
