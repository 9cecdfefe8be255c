"""Whether shipped experiments reach their figures on the GPU too: two short ones, with one seed."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks import zoo
from benchmarks.gpu.setting import Setting


def measure(setting: Setting, config: str) -> dict[str, Any]:
    """Train a shipped experiment, whose data set is part of hpc_dl."""
    figure = dataclasses.replace(zoo.figures()[config], seeds=1)
    if setting.rehearse:
        figure = dataclasses.replace(figure, overrides=["trainer.max_epochs=1"])
    results = zoo.train(figure, setting.folder / "runs", ["--data", str(setting.folder / "data")])
    return {**results, "metric": figure.metric, "reached": zoo.is_reached(figure, results)}
