"""Every shipped experiment, trained to its figure: ``python -m benchmarks.zoo`` writes zoo.json and
docs/zoo.md.

Names of configs as arguments train only these; ``--fast`` those that every test run trains. What is
not trained keeps the result, date and machine of the last time. ``--page`` only writes the page
anew.
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

from benchmarks.page import machine, table
from hpc_dl.config import yaml

PROJECT = Path(__file__).parent.parent
FIGURES = Path(__file__).with_name("zoo.yaml")
RESULTS = Path(__file__).with_name("zoo.json")
PAGE = PROJECT / "docs" / "zoo.md"
SEEDS = 3
_HPC_DL = [sys.executable, "-c", "from hpc_dl.cli.main import main; main()"]


@dataclass(frozen=True)
class Figure:
    """What a config must reach.

    Attributes:
        name: of the config, ``<architecture>-<source>``, and of a variant of it after a space.
        overrides: what the variant changes.
        also: other metrics that must not be below a figure.
        simple: the simple model to compare with; the best one when empty.
        metric: full name.
        source: where the figure comes from.
        at_least: it must not be below.
        at_most: it must not be above.
        seeds: trainings whose mean is judged.
        fast: whether each test run trains it.
        gpu: ``overrides`` and another figure, where there is a GPU.
        why: what is known of why it was missed.
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
        """The config's name."""
        return self.name.partition(" ")[0]

    @property
    def command(self) -> list[str]:
        """What follows ``hpc-dl``."""
        return ["train", f"configs/{self.config}.yaml", *self.overrides]

    def reached(self, value: float, others: Mapping[str, float] | None = None) -> bool:
        """Whether a value is good enough, and those of ``also`` are."""
        good = (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)
        return good and all((others or {}).get(metric, -math.inf) >= least for metric, least in self.also.items())

    @property
    def told(self) -> str:
        """The figure in words."""
        own = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return ", ".join([own, *(f"{metric.partition('/')[2]} ≥ {least:g}" for metric, least in self.also.items())])


def figures() -> dict[str, Figure]:
    """All, by name."""
    return {name: Figure(name=name, source=raw.pop("from"), **raw) for name, raw in yaml.load(FIGURES).items()}


def run(words: Sequence[str]) -> dict[str, Any]:
    """The answer of an ``hpc-dl`` command.

    Raises:
        RuntimeError: it failed; with what it said last.
    """
    done = subprocess.run([*_HPC_DL, *words, "--json"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def train(figure: Figure, runs: Path, data: Sequence[str]) -> dict[str, Any]:
    """Train a config as its file stands, with several seeds; what they reached."""
    gpu = torch.cuda.is_available()
    also: dict[str, list[float]] = {metric: [] for metric in figure.also}
    overrides = ["wandb.mode=disabled", *(figure.gpu.get("overrides", []) if gpu else ["trainer.accelerator=cpu"])]
    values, seconds, parameters = [], [], 0
    for seed in range(figure.seeds):
        words = [*figure.command, f"seed={seed}", *overrides, "--runs", str(runs), *data]
        outcome = run(words)
        values.append(float(outcome["metrics"][figure.metric]))
        for metric, found in also.items():
            found.append(float(outcome["metrics"][metric]))
        seconds.append(float(outcome["seconds"]))
        parameters = int(outcome["parameters"])
        print(f"{figure.name} seed {seed}: {figure.metric} {values[-1]:.4g} in {seconds[-1]:.0f} s", file=sys.stderr)
    return {
        "values": values,
        **({"also": also} if also else {}),
        "seconds": statistics.median(seconds),
        "parameters": parameters,
        "device": "gpu" if gpu else "cpu",
        "overrides": figure.gpu.get("overrides", []) if gpu else [],
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine("torch"),
    }


def best_simple(figure: Figure, runs: Path, data: Sequence[str]) -> dict[str, Any] | None:
    """The best simple model on the same splits, where there is one for the task."""
    try:
        found = run(["baseline", *figure.command[1:], "--runs", str(runs), *data])
    except RuntimeError as error:
        print(f"{figure.name}: no simple model: {error}", file=sys.stderr)
        return None
    known = {
        m["name"]: statistics.fmean(m["metrics"][figure.metric])
        for m in found["simple"]
        if figure.metric in m["metrics"] and figure.simple in ("", m["name"])
    }
    if not known:
        return None
    choose = max if figure.at_least is not None else min
    name = choose(known, key=lambda model: known[model])
    return {"name": name, "value": known[name]}


def read() -> dict[str, Any]:
    """What was reached, by the config's name."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def page(results: dict[str, Any]) -> str:
    """docs/zoo.md."""
    rows = []
    for name, figure in figures().items():
        found = results.get(name)
        architecture, _, source = figure.config.partition("-")
        variant = f" `{' '.join(figure.overrides)}`" if figure.overrides else ""
        at_least = figure.told
        if found is None:
            reached, simple, took, parameters, when = "not trained yet", "", "", "", ""
        elif "problem" in found:
            reached, simple, took, parameters, when = f"**failed**: {found['problem']}", "", "", "", found["date"]
        else:
            mean = statistics.fmean(found["values"])
            spread = f" ± {statistics.stdev(found['values']):.2g}" if len(found["values"]) > 1 else ""
            good = _judged(figure, found)
            told = ", ".join([f"{mean:.4g}{spread}", *_others_told(found)])
            reached = told if good else f"**{told}: missed** {figure.why}".strip()
            best = found.get("simple")
            simple = f"{best['name']} {best['value']:.4g}" if best else ""
            took, parameters = f"{found['seconds']:.0f} s", f"{found['parameters']:,}"
            when = f"{found['date']}, {found['device']}"
        rows.append(
            [
                architecture + variant,
                source,
                figure.metric,
                f"{at_least} ({figure.source})",
                reached,
                simple,
                took,
                parameters,
                when,
            ]
        )
    head = [
        "architecture",
        "data",
        "metric",
        "figure to reach",
        "reached",
        "best simple model",
        "time",
        "parameters",
        "when",
    ]
    machines = sorted({found["machine"]["processor"] for found in results.values() if "machine" in found})
    lines = [
        "# The zoo",
        "",
        "*Made by `make zoo`.* Every shipped experiment, trained as its file stands: `hpc-dl train "
        "configs/<architecture>-<data>.yaml`, with the words after its name for a variant. Mean ± standard "
        "deviation over three seeds where a training takes less than two minutes, else one seed. The simple "
        "models are fitted by `hpc-dl baseline` on the same splits.",
        "",
        "A figure to reach is what a correct implementation reaches; *measured* ones by plain torch on two CPU "
        "threads, mostly with one seed. **Missed** means that the mean of our trainings is below it, or above "
        "where less is better; what is known of the reason follows. Nothing is left out.",
        "",
        f"Machines: {'; '.join(machines)}. A time is that of one training, on whatever else the machine did.",
        "",
        *table(head, rows),
        "",
    ]
    return "\n".join(lines)


def _judged(figure: Figure, found: dict[str, Any]) -> bool:
    if found["device"] == "gpu" and "at_least" in figure.gpu:
        return statistics.fmean(found["values"]) >= float(figure.gpu["at_least"])
    others = {metric: round(statistics.fmean(values), 4) for metric, values in found.get("also", {}).items()}
    return figure.reached(round(statistics.fmean(found["values"]), 4), others)


def _others_told(found: dict[str, Any]) -> list[str]:
    return [
        f"{metric.partition('/')[2]} {statistics.fmean(values):.4g}" for metric, values in found.get("also", {}).items()
    ]


def main() -> int:
    """Train, and write the page; status 1 when a figure was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("configs", nargs="*", help="names of configs; all when left out")
    parser.add_argument("--fast", action="store_true", help="only those that every test run trains")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page")
    parser.add_argument("--data", help="folder of the data files")
    options = parser.parse_args()
    known = figures()
    if unknown := sorted(set(options.configs) - set(known)):
        parser.error(f"{', '.join(unknown)}: not in {FIGURES.name}")
    chosen = [name for name in options.configs or known if not options.fast or known[name].fast]
    data = ["--data", options.data] if options.data else []
    missed = []
    simple: dict[tuple[str, str], dict[str, Any] | None] = {}  # by data and metric: the same for all architectures
    with tempfile.TemporaryDirectory(prefix="hpc-dl-zoo-") as runs:
        for name in [] if options.page else chosen:
            try:
                found = train(known[name], Path(runs), data)
                same = (name.partition("-")[2], known[name].metric)  # with a variant's words
                if same not in simple:
                    simple[same] = best_simple(known[name], Path(runs), data)
                found["simple"] = simple[same]
            except RuntimeError as error:
                found = {"problem": str(error), "date": time.strftime("%Y-%m-%d")}
            if "problem" in found or not _judged(known[name], found):
                missed.append(name)
            # Read anew: another one may have written meanwhile.
            results = {key: value for key, value in sorted((read() | {name: found}).items()) if key in known}
            RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            PAGE.write_text(page(results), encoding="utf-8")
    PAGE.write_text(page(read()), encoding="utf-8")
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
