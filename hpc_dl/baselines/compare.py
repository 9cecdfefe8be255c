"""Comparison of networks with baselines, with confidence intervals over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpc_dl.baselines.fitting import TASKS_WITH_BASELINES, fit_baselines, no_baseline_error
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_untested_spec
from hpc_dl.data.spec import PER_POSITION, DataSpec
from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.formatting import duration
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.intervals import student_t, with_interval
from hpc_dl.learning.task import Task
from hpc_dl.runs import baselines
from hpc_dl.runs.run_files import read_provenance, read_result
from hpc_dl.runs.search import all_runs

# Keys in which two runs of the same network may differ.
_MAY_DIFFER = ("name", "seed", "resources", "wandb", "checkpoint")
_DECISIVE_METRIC = {
    "classification": "accuracy",
    "multilabel": "f1",
    "regression": "r2",
    **dict.fromkeys(PER_POSITION, "accuracy"),
    "reconstruction": "squared_error",
}


def compare(
    experiment: Experiment, *, runs: Path, data_dir: Path | None, seeds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Fit the baselines on the experiment's data, and compare them with the finished runs.

    Args:
        experiment: specifies the data, the task and the metrics.
        runs: folder of all runs; the baselines are stored there for later results.
        data_dir: folder of the data sources.
        seeds: how many times models that depend on a seed are fitted.
        say: prints one line for the user.

    Returns:
        ``data``, ``metric`` (the decisive one), ``simple``: baselines with their values by metric
        and seed; ``networks``: likewise by architecture; ``trainings``: how long each of them was
        trained; ``best``: name, mean and interval of the best baseline; ``verdict``: sentences.

    Raises:
        ConfigError: there is no baseline for the task.
    """
    data = open_untested_spec(experiment.data, data_dir)
    if not data.file:
        raise ConfigError.at("data", "is required: baselines are fitted on a data file, not on a module's own loaders")
    if data.task not in TASKS_WITH_BASELINES:
        raise no_baseline_error(data.task)
    section = experiment.data.model_copy(update={"source": None, "file": data.file})
    unweighted = experiment.loss.model_copy(update={"class_weights": "none"})  # only the metrics are compared
    task = Task(unweighted, data, experiment.metrics)
    batches = HDF5DataModule.from_config(section, data)
    fitted = [asdict(baseline) for baseline in fit_baselines(task, batches, seeds, say)]
    split = "test" if "test" in data.sizes else "val"
    metric = f"{split}/{_decisive_metric(task)}"
    identity = data_identity(data)
    best = best_baseline(fitted, metric)
    comparison = {"data": identity, "metric": metric, "simple": fitted, "best": best}
    baselines.save(runs, identity, comparison)
    networks, trainings = _finished_networks(runs, identity, metric)
    sentences = verdict(best, networks, metric, trainings)
    return comparison | {"networks": networks, "trainings": trainings, "verdict": sentences}


def data_identity(data: DataSpec) -> dict[str, Any]:
    """What two results must share to be comparable, and the name of the data."""
    return {"name": data.name, "checksum": data.checksum, "task": data.task, "sizes": data.sizes}


def best_baseline(fitted: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Name, mean and interval of the baseline that is best by a metric."""
    sign = -1 if known_direction(metric) == "min" else 1
    measured = [baseline for baseline in fitted if metric in baseline["metrics"]]
    best = max(measured, key=lambda baseline: sign * statistics.fmean(baseline["metrics"][metric]))
    mean, half_width = student_t(best["metrics"][metric])
    return {"name": best["name"], "mean": mean, "half_width": None if math.isnan(half_width) else half_width}


def verdict(
    best: dict[str, Any], networks: dict[str, list[float]], metric: str, trainings: Mapping[str, str] | None = None
) -> str:
    """Say whether the best network beats the best baseline.

    Args:
        best: the best baseline, from :func:`best_baseline`.
        networks: the metric of each finished run, by network.
        metric: its full name.
        trainings: how long each network was trained: ``10 epochs (4:05 min)``.
    """
    baseline = f"the best baseline, {best['name']}, reaches {metric} {with_interval(best['mean'], best['half_width'])}"
    if not networks:
        return f"{baseline[0].upper()}{baseline[1:]}. There is no finished run on these data to compare it with."
    sign = -1 if known_direction(metric) == "min" else 1
    name = max(networks, key=lambda name: sign * statistics.fmean(networks[name]))
    mean, half_width = student_t(networks[name])
    one_seed = math.isnan(half_width)
    seeds = "with one seed" if one_seed else f"over {len(networks[name])} seeds"
    length = (trainings or {}).get(name)
    trained = f" after {length} of training" if length else ""
    both = f"{name} reaches {with_interval(mean, half_width)} {seeds}{trained}; {baseline}"
    gain = sign * (mean - best["mean"])
    margin = math.hypot(0.0 if one_seed else half_width, best["half_width"] or 0.0)
    if gain > margin:
        caution = " (one seed only: confirm it with more seeds)" if one_seed else ""
        return f"The network is better by {abs(gain):.3g}: {both}{caution}."
    if gain < -margin:
        advice = "More epochs or other settings may change this."
        return f"The baseline is better by {abs(gain):.3g}: {both}. {advice}"
    return f"No significant difference: {both}. The baseline is cheaper."


def _decisive_metric(task: Task) -> str:
    names = [str(name) for name in task.metrics("")]
    if "bits_per_step" in names:
        return "bits_per_step"
    preferred = _DECISIVE_METRIC[task.name]
    return preferred if preferred in names else names[0]


def _finished_networks(
    runs: Path, identity: dict[str, Any], metric: str
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The metric of all finished runs on the same splits, by network, and the longest training.

    Runs that differ only in seed, resources and the like count as the same network.
    """
    values: dict[str, list[float]] = {}
    lengths: dict[str, tuple[int, float]] = {}
    names: dict[str, str] = {}  # by what distinguishes an experiment
    for run in all_runs(runs):
        try:
            result, data = read_result(run.checked()), read_provenance(run).get("data") or {}
        except (HpcDlError, OSError):  # damaged, someone else's, or written by another version
            continue
        if not result or any(data.get(key) != identity[key] for key in ("checksum", "sizes")):
            continue
        try:
            experiment = Experiment.from_dict(yaml.load(run.config))
        except HpcDlError:  # written by another version
            continue
        settings = repr({key: value for key, value in experiment.to_dict().items() if key not in _MAY_DIFFER})
        name = names.get(settings, experiment.model.title)
        if settings not in names and name in names.values():
            name = f"{name}, as in {run.name}"
        names[settings] = name
        value = result.get("metrics", {}).get(metric)
        if isinstance(value, float):
            values.setdefault(name, []).append(value)
            lengths[name] = max(lengths.get(name, (0, 0.0)), (int(result["epochs"]), float(result["seconds"])))
    described = {
        name: f"{epochs} epoch{'s' * (epochs != 1)} ({duration(seconds)})"
        for name, (epochs, seconds) in lengths.items()
    }
    return values, described
