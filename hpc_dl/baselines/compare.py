"""Whether the networks beat the simple models, with confidence intervals over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import read_json
from hpc_dl.baselines.simple import KNOWN, fit_all
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import open_spec
from hpc_dl.data.spec import PER_POSITION, DataSpec
from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.task import Task
from hpc_dl.runs import baselines
from hpc_dl.runs.folder import all_runs

# Quantiles of Student's t for a two-sided interval of 95 %, by degrees of freedom (Student, 1908).
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL = 1.96
_MAY_DIFFER = ("name", "seed", "resources", "wandb", "checkpoint")
_JUDGED_BY = {
    "classification": "accuracy",
    "multilabel": "f1",
    "regression": "r2",
    **dict.fromkeys(PER_POSITION, "accuracy"),
    "reconstruction": "squared_error",
}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % confidence interval; NaN for a single value, whose
    spread nobody knows.
    """
    if len(values) < 2:
        return values[0], math.nan
    degrees = len(values) - 1
    quantile = _T[degrees] if degrees < len(_T) else _NORMAL
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def compare(
    experiment: Experiment, *, runs: Path, data_dir: Path | None, seeds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Fit the simple models on the experiment's data, and set them beside the finished runs on the
    same splits.

    Args:
        experiment: names the data, the task and the metrics.
        runs: folder of all runs; the answer is kept there for later results.
        data_dir: folder of the data sources.
        seeds: how many times models that draw something are fitted.
        say: tells the user one line.

    Returns:
        ``data``, ``metric`` (what decides), ``simple``: models with their values by metric and
        seed; ``networks``: likewise by architecture; ``best``: name, mean and interval of the best
        simple model; ``verdict``: a sentence.

    Raises:
        ConfigError: there is no simple model for the task.
    """
    data = open_spec(experiment.data, data_dir)
    if data.task not in KNOWN:
        raise ConfigError.at("data.task", "there is no simple model for it", value=data.task, allowed=", ".join(KNOWN))
    section = experiment.data.model_copy(update={"source": None, "file": data.file})
    unweighted = experiment.loss.model_copy(update={"class_weights": "none"})  # it is the metrics that are compared
    task = Task(unweighted, data, experiment.metrics)
    batches = HDF5DataModule.from_config(section, data)
    simple = [asdict(model) for model in fit_all(task, batches, seeds, say)]
    split = "test" if "test" in data.sizes else "val"
    metric = f"{split}/{_metric(task)}"
    facts = facts_of(data)
    best = best_of(simple, metric)
    found = {"data": facts, "metric": metric, "simple": simple, "best": best}
    baselines.keep(runs, facts, found)
    networks = _networks(runs, facts, metric)
    return found | {"networks": networks, "verdict": verdict(best, networks, metric)}


def facts_of(data: DataSpec) -> dict[str, Any]:
    """What decides who may be compared with whom."""
    return {"name": data.name, "checksum": data.checksum, "task": data.task, "sizes": data.sizes}


def best_of(simple: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Name, mean and interval of the model that is best by a metric."""
    sign = -1 if known_direction(metric) == "min" else 1
    known = [model for model in simple if metric in model["metrics"]]
    best = max(known, key=lambda model: sign * statistics.fmean(model["metrics"][metric]))
    mean, half = interval(best["metrics"][metric])
    return {"name": best["name"], "mean": mean, "half_width": None if math.isnan(half) else half}


def verdict(best: dict[str, Any], networks: dict[str, list[float]], metric: str) -> str:
    """Whether the best network beats the best simple model, in a sentence."""
    told = f"the best simple model is {best['name']} with {_told(best['mean'], best['half_width'])} {metric}"
    if not networks:
        return f"Of the simple ones {told}. No finished run on these data is here to compare it with."
    sign = -1 if known_direction(metric) == "min" else 1
    name = max(networks, key=lambda name: sign * statistics.fmean(networks[name]))
    mean, half = interval(networks[name])
    network = f"{name} reaches {_told(mean, half)} over {len(networks[name])} seeds; {told}"
    if math.isnan(half):
        network = f"{name} reaches {mean:.4g} with one seed; {told}"
    gain = sign * (mean - best["mean"])
    margin = math.hypot(0.0 if math.isnan(half) else half, best["half_width"] or 0.0)
    if gain > margin:
        sure = "" if not math.isnan(half) else " (one seed only: train with others, to be sure)"
        return f"The network is better by {abs(gain):.3g}: {network}{sure}."
    if gain < -margin:
        return f"No deep model is needed here: {network}."
    return f"No difference can be told: {network}. The simple one is cheaper."


def _metric(task: Task) -> str:
    names = [str(name) for name in task.metrics("")]
    if "bits_per_step" in names:
        return "bits_per_step"
    wanted = _JUDGED_BY[task.name]
    return wanted if wanted in names else names[0]


def _networks(runs: Path, facts: dict[str, Any], metric: str) -> dict[str, list[float]]:
    """The metric of all finished runs on the same splits, by architecture; those of one differ in
    their seed alone.
    """
    found: dict[str, list[float]] = {}
    known: dict[str, str] = {}  # what distinguishes an experiment, and what it is called
    for run in all_runs(runs):
        result = read_json(run.result)
        data = (read_json(run.provenance) or {}).get("data", {})
        if run.layout_fault() or result is None or any(data.get(key) != facts[key] for key in ("checksum", "sizes")):
            continue
        value = result.get("metrics", {}).get(metric)
        try:
            experiment = Experiment.from_dict(yaml.load(run.config))
        except HpcDlError:  # of another version
            continue
        told = {key: each for key, each in experiment.to_dict().items() if key not in _MAY_DIFFER}
        name = known.get(repr(told), experiment.model.name)
        if repr(told) not in known and name in known.values():
            name = f"{name}, as in {run.name}"
        known[repr(told)] = name
        if isinstance(value, float):
            found.setdefault(name, []).append(value)
    return found


def _told(mean: float, half: float | None) -> str:
    return f"{mean:.4g}" if half is None or math.isnan(half) else f"{mean:.4g} ± {half:.2g}"
