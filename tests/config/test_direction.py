"""Whether smaller or larger values of a metric are better."""

import pytest

from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.metrics import METRICS
from hpc_dl.models import config_class, names


def test_every_metric_of_ours_is_known() -> None:
    own = {name for known in METRICS.values() for name in known}
    own |= {metric for name in names() for metric in config_class(name).metrics}
    assert {name for name in own if known_direction(f"val/{name}") is None} == set()
    lower = {name for name in own if known_direction(f"val/{name}") == "min"}
    declared = {name: make(7).higher_is_better for task in METRICS.values() for name, make in task.items()}
    for name, higher_is_better in declared.items():
        if higher_is_better is not None:
            assert higher_is_better == (name not in lower), name
    undeclared = {name for name in own if declared.get(name) is None}
    assert lower & undeclared == {"squared_error", "bits_per_step", "residual", "iterations"}
    assert {"mse", "mae"} <= lower
    assert known_direction("val/top3") == "max"


def test_direction_follows_from_the_name_or_the_mode() -> None:
    assert CheckpointConfig().direction == "min"
    assert CheckpointConfig(monitor="val/accuracy").direction == "max"
    assert CheckpointConfig(monitor="val/accuracy", mode="min").direction == "min"
    with pytest.raises(ValueError, match="it is not known whether lower or higher val/mine is better: set `mode`"):
        _ = CheckpointConfig(monitor="val/mine").direction
    assert CheckpointConfig(monitor="val/mine", mode="max").direction == "max"
