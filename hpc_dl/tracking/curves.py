"""The curves of a run: its journal as one series for each metric, by step and by epoch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpc_dl.learning.metric_names import split_and_metric, without_forks

_NOT_METRICS = {"step", "epoch", "time", "train/gradient_norm", "train/lr", "train/samples_per_s"}


def curves_of(rows: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The steps and the finite values of each metric, training first, without the test."""
    names = without_forks({name for row in rows for name in row} - _NOT_METRICS)
    curves = {}
    for name in sorted(names, key=lambda name: (split_and_metric(name)[0] != "train", name)):
        if split_and_metric(name)[0] == "test":
            continue
        points = [(row["step"], float(row[name])) for row in rows if _is_finite(row.get(name))]
        if points:
            steps, values = zip(*points, strict=True)
            curves[name] = (np.array(steps), np.array(values))
    return curves


class EpochsDone:
    """Converts steps to epochs, where the journal has a row at the end of each epoch."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        ends: dict[int, int] = {}
        for row in rows:
            if row.get("epoch") is not None:
                ends[int(row["epoch"])] = row["step"]
        self._steps = [0, *ends.values()]
        self._epochs = [0, *[epoch + 1 for epoch in ends]]

    def __call__(self, steps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The number of epochs done after each of these steps, a fraction within an epoch."""
        return np.asarray(np.interp(steps, self._steps, self._epochs))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
