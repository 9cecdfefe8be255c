"""Every shipped experiment, trained and compared with the figure that it must reach.

``python -m benchmarks.zoo`` (``make zoo``) writes benchmarks/zoo.json and docs/reference/zoo.md.
Arguments select configs by name; ``--fast`` selects those that every test run trains. What is not
trained keeps its result, date and machine. ``--page`` only writes the page again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import zoo_corrections
from benchmarks.page import machine, paragraph, results_file, table
from hpc_dl.config import yaml

PROJECT = Path(__file__).parent.parent
FIGURES = Path(__file__).with_name("zoo.yaml")
RESULTS = results_file("zoo")
PAGE = PROJECT / "docs" / "reference" / "zoo.md"
SEEDS = 3
_HPC_DL = [sys.executable, "-c", "from hpc_dl.cli.main import main; main()"]


@dataclass(frozen=True)
class Figure:
    """The figure that a config must reach.

    Attributes:
        name: of the config, ``<architecture>-<source>``, for a variant followed by a space and its
            name.
        metric: full name of the metric.
        source: origin of the figure.
        overrides: changes of a variant.
        also: least values of other metrics.
        simple: the simple model to compare with; the best one if empty.
        at_least: lower bound.
        at_most: upper bound.
        seeds: number of trainings, whose mean is evaluated.
        fast: whether each test run trains it.
        gpu: ``overrides`` and another figure for a machine with a GPU.
        why: known reason for a miss.
    """

    name: str
    metric: str
    source: str
    overrides: list[str] = field(default_factory=list)
    also: dict[str, float] = field(default_factory=dict)
    simple: str = ""
    at_least: float | None = None
    at_most: float | None = None
    seeds: int = SEEDS
    fast: bool = False
    gpu: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def config(self) -> str:
        """The name of the config."""
        return self.name.partition(" ")[0]

    @property
    def command(self) -> list[str]:
        """The arguments of ``hpc-dl`` that train it."""
        return ["train", f"configs/{self.config}.yaml", *self.overrides]

    @property
    def description(self) -> str:
        """The bounds in one line."""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return ", ".join([bound, *(f"{_short(metric)} ≥ {least:g}" for metric, least in self.also.items())])

    def is_reached(self, value: float, others: Mapping[str, float] | None = None) -> bool:
        """Whether a value, and the other metrics in ``also``, are within the bounds."""
        within = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        return within and all((others or {}).get(metric, -math.inf) >= least for metric, least in self.also.items())


def figures() -> dict[str, Figure]:
    """Return all figures by name."""
    return {name: Figure(name=name, source=raw.pop("from"), **raw) for name, raw in yaml.load(FIGURES).items()}


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Run an ``hpc-dl`` command and return its JSON output.

    Raises:
        RuntimeError: it failed; with the last line of its error output.
    """
    done = subprocess.run([*_HPC_DL, *arguments, "--json"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def train(figure: Figure, runs: Path, data: Sequence[str]) -> dict[str, Any]:
    """Train a config with several seeds.

    Args:
        figure: the config and its figure.
        runs: folder of the runs.
        data: arguments that name the folder of the data.

    Returns:
        The values that it reached, its duration and its size.
    """
    on_gpu = torch.cuda.is_available()
    gpu_overrides = figure.gpu.get("overrides", []) if on_gpu else []
    overrides = ["wandb.mode=disabled", *gpu_overrides, *([] if on_gpu else ["trainer.accelerator=cpu"])]
    also: dict[str, list[float]] = {metric: [] for metric in figure.also}
    values, seconds, parameters = [], [], 0
    for seed in range(figure.seeds):
        result = run([*figure.command, f"seed={seed}", *overrides, "--runs", str(runs), *data])
        values.append(float(result["metrics"][figure.metric]))
        for metric, values_of_metric in also.items():
            values_of_metric.append(float(result["metrics"][metric]))
        seconds.append(float(result["seconds"]))
        parameters = int(result["parameters"])
        print(f"{figure.name} seed {seed}: {figure.metric} {values[-1]:.4g} in {seconds[-1]:.0f} s", file=sys.stderr)
    return {
        "values": values,
        **({"also": also} if also else {}),
        "seconds": statistics.median(seconds),
        "parameters": parameters,
        "device": "gpu" if on_gpu else "cpu",
        "overrides": gpu_overrides,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine("torch"),
    }


def best_simple_model(figure: Figure, runs: Path, data: Sequence[str]) -> dict[str, Any] | None:
    """Return name and value of the best simple model on the same splits.

    Returns:
        ``None`` if the task has none.
    """
    try:
        output = run(["baseline", *figure.command[1:], "--runs", str(runs), *data])
    except RuntimeError as error:
        print(f"{figure.name}: no simple model: {error}", file=sys.stderr)
        return None
    means = {
        model["name"]: statistics.fmean(model["metrics"][figure.metric])
        for model in output["simple"]
        if figure.metric in model["metrics"] and figure.simple in ("", model["name"])
    }
    if not means:
        return None
    best = max if figure.at_least is not None else min
    name = best(means, key=lambda model: means[model])
    return {"name": name, "value": means[name]}


def is_reached(figure: Figure, results: dict[str, Any]) -> bool:
    """Whether the means of the trainings reach the figure."""
    mean = statistics.fmean(results["values"])
    if results["device"] == "gpu" and "at_least" in figure.gpu:
        return mean >= float(figure.gpu["at_least"])
    others = {metric: round(statistics.fmean(values), 4) for metric, values in results.get("also", {}).items()}
    return figure.is_reached(round(mean, 4), others)


def recorded_results() -> dict[str, Any]:
    """Return the results in zoo.json, by name."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


# --- the page -----------------------------------------------------------------------------------

_HEAD = [
    "configuration",
    "figure to reach",
    "reached",
    "best simple model",
    "time",
    "parameters",
    "when",
]


def page(results: dict[str, Any]) -> str:
    """Return the text of docs/reference/zoo.md."""
    machines = sorted({entry["machine"]["processor"] for entry in results.values() if "machine" in entry})
    lines = [
        "# Results of every architecture",
        "",
        *paragraph(
            "*Written by `make zoo`.* Every shipped experiment, trained as configured: `hpc-dl train "
            "CONFIGURATION`, for a variant with the overrides after its name. The figures are "
            "the mean ± standard deviation over three seeds if a training takes less than two minutes, otherwise "
            "those of one seed. `hpc-dl baseline` fits the simple models on the same splits."
        ),
        "",
        *paragraph(
            "A correct implementation reaches the figure to reach. Figures called *measured* come from plain torch on "
            "two CPU threads, mostly with one seed. **Missed** means that the mean of our trainings is below the "
            "figure, or above it if less is better; the known reason follows. Every result is shown."
        ),
        "",
        *paragraph(
            f"Machines: {'; '.join(machines)}. A time is that of one training, while other programs also used the "
            "machine."
        ),
        "",
        *table(_HEAD, [_row(figure, results.get(name)) for name, figure in figures().items()], texts=4),
        "",
        *zoo_corrections.section(list(figures()), results),
    ]
    return "\n".join(lines)


def _row(figure: Figure, results: dict[str, Any] | None) -> list[str]:
    variant = f" `{' '.join(figure.overrides)}`" if figure.overrides else ""
    row = [figure.config + variant, f"{figure.metric} {figure.description} ({figure.source})"]
    if results is None:
        return [*row, "not trained yet", "", "", "", ""]
    if "problem" in results:
        return [*row, f"**failed**: {results['problem']}", "", "", "", results["date"]]
    mean = statistics.fmean(results["values"])
    spread = f" ± {statistics.stdev(results['values']):.2g}" if len(results["values"]) > 1 else ""
    others = [f"{_short(metric)} {statistics.fmean(values):.4g}" for metric, values in results.get("also", {}).items()]
    reached = ", ".join([f"{mean:.4g}{spread}", *others])
    if not is_reached(figure, results):
        reached = f"**{reached}: missed** {figure.why}".strip()
    best = results.get("simple")
    simple = f"{best['name']} {best['value']:.4g}" if best else ""
    when = f"{results['date']}, {results['device']}"
    return [*row, reached, simple, f"{results['seconds']:.0f} s", f"{results['parameters']:,}", when]


def _short(metric: str) -> str:
    """The name of a metric without its split."""
    return metric.partition("/")[2]


def main() -> int:
    """Train, and write the page; return 1 if a figure was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("configs", nargs="*", help="names of configs; all by default")
    parser.add_argument("--fast", action="store_true", help="only those that every test run trains")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page")
    parser.add_argument("--data", help="folder of the data files")
    options = parser.parse_args()
    known = figures()
    if unknown := sorted(set(options.configs) - set(known)):
        parser.error(f"not in {FIGURES.name}: {', '.join(unknown)}")
    chosen = [name for name in options.configs or known if not options.fast or known[name].fast]
    data = ["--data", options.data] if options.data else []
    missed = []
    # By data and metric, because they are the same for all architectures.
    simple_models: dict[tuple[str, str], dict[str, Any] | None] = {}
    with tempfile.TemporaryDirectory(prefix="hpc-dl-zoo-") as runs:
        for name in [] if options.page else chosen:
            figure = known[name]
            try:
                result = train(figure, Path(runs), data)
                key = (name.partition("-")[2], figure.metric)  # the data includes the name of a variant
                if key not in simple_models:
                    simple_models[key] = best_simple_model(figure, Path(runs), data)
                result["simple"] = simple_models[key]
            except RuntimeError as error:
                result = {"problem": str(error), "date": time.strftime("%Y-%m-%d")}
            if "problem" in result or not is_reached(figure, result):
                missed.append(name)
            # Read again, because another process may have written meanwhile.
            results = {
                key: value for key, value in sorted((recorded_results() | {name: result}).items()) if key in known
            }
            RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            PAGE.write_text(page(results), encoding="utf-8")
    PAGE.write_text(page(recorded_results()), encoding="utf-8")
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
