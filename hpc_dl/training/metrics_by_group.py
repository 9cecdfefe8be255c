"""Metrics of the samples of each group (``data.group``): sites, scanners, sexes, …

A model that is good on average may fail at one site. Small groups have wide intervals; groups whose
intervals overlap may be equally good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.sample_groups import read_groups
from hpc_dl.data.spec import IGNORED
from hpc_dl.learning.intervals import student_t, wilson
from hpc_dl.learning.supervised import Supervised
from hpc_dl.training.model_inputs import preprocessed_on


def metrics_by_group(
    model: Supervised, batches: HDF5DataModule, config: DataConfig, split: str, device: torch.device
) -> dict[str, Any]:
    """Compute metrics of each group, with 95% intervals, in one pass over a split.

    Classification: ``accuracy``; of each class ``recall/CLASS``, the share of its samples that are
    predicted as such, and ``positive_rate/CLASS``, the share of all samples that are predicted as
    this class; for two classes only of class 1, as ``recall`` and ``positive_rate``. These are
    proportions with Wilson's interval. Regression: ``mae``, the mean absolute error, and ``bias``,
    the mean of prediction minus target, with Student's t.

    Args:
        model: with the weights to evaluate; its mode is restored.
        batches: its data, whose preprocessing is used.
        config: the ``data`` section, with a ``group``.
        split: a split of the data.
        device: where to compute.

    Returns:
        ``by``, ``split``, ``intervals`` (``Wilson`` or ``Student's t``), ``positive_class`` for two
        classes, and ``groups``: each with ``group``, ``samples``, and ``metrics`` by name:
        ``value``, ``low``, ``high`` (None for one value) and ``count``, the number of samples that
        it is computed from.
    """
    data = model.recipe.data
    outputs, targets = _predictions(model, batches, config, split, device)
    opened = open_data(data.file, config)
    groups = read_groups(opened.spec, opened.splits[split], config)
    classification = data.task == "classification"
    rows = []
    for group in np.unique(groups):
        members = groups == group
        if classification:
            metrics = _proportions(outputs[members].argmax(1), targets[members], data.class_names)
        else:
            metrics = _errors(outputs[members], targets[members])
        rows.append({"group": str(group), "samples": int(members.sum()), "metrics": metrics})
    intervals = "Wilson" if classification else "Student's t"
    positive = {"positive_class": data.class_names[1]} if classification and len(data.class_names) == 2 else {}
    return {"by": config.group, "split": split, "intervals": intervals, **positive, "groups": rows}


def _predictions(
    model: Supervised, batches: HDF5DataModule, config: DataConfig, split: str, device: torch.device
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Outputs (N, K) and targets of all samples of a split, in order."""
    whole = HDF5DataModule.from_config(config, model.recipe.data)  # without a Trainer: not divided among ranks
    whole.load_state_dict(batches.state_dict())
    whole.evaluated_split = split
    home, training = next(model.parameters()).device, model.training
    model.to(device).eval()
    outputs, targets = [], []
    try:
        with torch.inference_mode():
            for batch in whole.test_dataloader():
                x, y = model.inputs_and_targets(preprocessed_on(device, model, whole, batch))
                outputs.append(model(x).float().cpu().numpy())
                targets.append(y.cpu().numpy())
    finally:
        model.to(home).train(training)
        whole.teardown("test")
    return np.concatenate(outputs), np.concatenate(targets)


def _proportions(
    predicted: NDArray[Any], true: NDArray[Any], class_names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    known = true != IGNORED
    predicted, true = predicted[known], true[known]
    counts = {"accuracy": (int((predicted == true).sum()), len(true))}
    for number, name in enumerate(class_names):
        if len(class_names) > 2 or number == 1:
            ending = f"/{name}" if len(class_names) > 2 else ""
            counts[f"recall{ending}"] = (int((predicted[true == number] == number).sum()), int((true == number).sum()))
            counts[f"positive_rate{ending}"] = (int((predicted == number).sum()), len(true))
    return {name: _proportion(successes, count) for name, (successes, count) in counts.items() if count}


def _proportion(successes: int, count: int) -> dict[str, float | int | None]:
    low, high = wilson(successes, count)
    return {"value": successes / count, "low": low, "high": high, "count": count}


def _errors(outputs: NDArray[Any], targets: NDArray[Any]) -> dict[str, dict[str, float | int | None]]:
    """Errors averaged over the values of a sample, then over samples."""
    errors = outputs.reshape(len(outputs), -1) - targets.reshape(len(outputs), -1)
    metrics: dict[str, dict[str, float | int | None]] = {}
    for name, values in (("mae", np.abs(errors).mean(1)), ("bias", errors.mean(1))):
        mean, half = student_t(values)
        low, high = (None, None) if math.isnan(half) else (mean - half, mean + half)
        metrics[name] = {"value": mean, "low": low, "high": high, "count": len(values)}
    return metrics
