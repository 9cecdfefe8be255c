"""How good the best point of a sweep is with ``tpe``, compared with ``random``, on known functions.

``python -m benchmarks.adaptive_sweeps`` writes benchmarks/adaptive_sweeps.json and a section of
docs/reference/benchmarks.md. ``--quick`` does one short sweep of each kind; its results go to
``--json FILE`` only.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table
from hpc_dl.schema import parse
from hpc_dl.sweeps.adaptive import open_study, suggested
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.points import conditional_last, points_of

TRIALS = 60
AT_ONCE = 4
SEEDS = 10
_UNIT: dict[str, Any] = {"uniform": [0.0, 1.0]}


def hartmann_6(point: Mapping[str, Any]) -> float:
    """Hartmann's function of six variables, whose minimum of 0 here lies in a narrow valley."""
    x = [point[f"x{number}"] for number in range(6)]
    weights = (1.0, 1.2, 3.0, 3.2)
    scales = (
        (10, 3, 17, 3.5, 1.7, 8),
        (0.05, 10, 17, 0.1, 8, 14),
        (3, 3.5, 1.7, 10, 17, 8),
        (17, 8, 0.05, 10, 0.1, 14),
    )
    centers = (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886), (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650), (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    )  # fmt: skip
    terms = (
        weight * math.exp(-sum(a * (value - c) ** 2 for a, value, c in zip(scale, x, center, strict=True)))
        for weight, scale, center in zip(weights, scales, centers, strict=True)
    )
    return 3.32237 - sum(terms)


def training(point: Mapping[str, Any]) -> float:
    """A loss as of a network: learning rate, decay, and a width that only one model has."""
    rate, decay = math.log10(point["optimizer.lr"]), math.log10(point["optimizer.weight_decay"])
    loss = 0.3 * (rate + 2.5) ** 2 + 0.05 * (decay + 4) ** 2
    if point["model.name"] == "cnn":
        return loss + 0.2 * abs(math.log2(point["model.width"] / 64))
    return loss + 0.4


FUNCTIONS: dict[str, tuple[Callable[[Mapping[str, Any]], float], dict[str, Any]]] = {
    "Hartmann 6": (hartmann_6, {f"x{number}": _UNIT for number in range(6)}),
    "learning rate, decay, model, width": (
        training,
        {
            "optimizer.lr": {"log_uniform": [1e-5, 1.0]},
            "optimizer.weight_decay": {"log_uniform": [1e-7, 1e-1]},
            "model.name": {"values": ["mlp", "cnn", "linear"]},
            "model.width": {"int": [8, 512], "when": {"model.name": "cnn"}},
        },
    ),
}


def best_of_random(name: str, trials: int, seed: int) -> float:
    """The lowest value of independent draws."""
    function, parameters = FUNCTIONS[name]
    section = {"method": "random", "parameters": parameters, "trials": trials, "seed": seed}
    config = parse(SweepConfig, section, "sweep")
    return min(function(point) for point in points_of(config, {}))


def best_of_tpe(name: str, trials: int, seed: int, at_once: int, folder: Path) -> float:
    """The lowest value of a sweep in which some tasks of different durations run at a time."""
    function, parameters = FUNCTIONS[name]
    section = {"method": "tpe", "parameters": parameters, "trials": trials, "seed": seed}
    config = parse(SweepConfig, section, "sweep")
    ordered, durations = conditional_last(config.parameters), random.Random(seed)
    running: list[tuple[float, int, float]] = []  # end, number, value
    best, now = math.inf, 0.0
    for number in range(trials):
        study = open_study(SweepFolder(folder), f"{name}-{seed}-{at_once}", config, number)
        if len(running) == at_once:
            now, ended, value = heapq.heappop(running)
            study.tell({ended: value})
        value = function(study.ask(number, lambda trial: suggested(trial, ordered, {})))
        best = min(best, value)
        heapq.heappush(running, (now + durations.uniform(1, 2), number, value))
    return best


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    text = (
        f"The lowest value that a sweep of {results['trials']} points finds, above the minimum of a function: the "
        f"median over {results['seeds']} seeds. With tpe, {results['at_once']} tasks of different durations run at a "
        f"time. The share of seeds in which tpe finds less is in the last column. "
        f"{describe(results['machine'])}"
    )
    rows = [
        [
            name,
            f"{values['random']['median']:.3f}",
            f"{values['tpe']['median']:.3f} ({values['tpe']['median'] / values['random']['median']:.2f} ×)",
            f"{values['better']:.0%}",
        ]
        for name, values in results["functions"].items()
    ]
    header = ["function", "random", f"tpe, {results['at_once']} tasks", "better"]
    return [*paragraph(text), "", *table(header, rows)]


def measure(trials: int, seeds: int) -> dict[str, Any]:
    """Return the results for each function."""
    functions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FUNCTIONS:
            draws = [best_of_random(name, trials, seed) for seed in range(seeds)]
            tasks = [best_of_tpe(name, trials, seed, AT_ONCE, Path(folder)) for seed in range(seeds)]
            functions[name] = {
                "random": {"median": statistics.median(draws), "values": draws},
                "tpe": {"median": statistics.median(tasks), "values": tasks},
                "better": sum(a < b for a, b in zip(tasks, draws, strict=True)) / seeds,
            }
    return {"trials": trials, "seeds": seeds, "at_once": AT_ONCE, "functions": functions, "machine": page.machine()}


def main() -> None:
    """Measure and publish."""
    options = page.parse(argparse.ArgumentParser(description=__doc__), "one sweep of 12 points of each kind")
    results = measure(12, 1) if options.quick else measure(TRIALS, SEEDS)
    page.publish("adaptive_sweeps", results, options.json)


if __name__ == "__main__":
    main()
