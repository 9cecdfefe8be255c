"""Whether smaller or larger values of a metric are better."""

import pytest

from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.metrics import METRICS
from hpc_dl.models import config_class, names


def test_direction_of_all_metrics_is_known() -> None:
    metrics = {name for metrics_of_task in METRICS.values() for name in metrics_of_task}
    metrics |= {metric for name in names() for metric in config_class(name).metrics}
    assert {name for name in metrics if known_direction(f"val/{name}") is None} == set()
    smaller_is_better = {name for name in metrics if known_direction(f"val/{name}") == "min"}
    assert smaller_is_better == {"mse", "mae", "squared_error", "bits_per_step", "residual", "iterations"}
    for task in METRICS.values():
        for name, make in task.items():
            if (higher := make(3).higher_is_better) is not None:
                assert higher == (known_direction(name) == "max"), name


def test_direction_follows_from_the_name_or_the_mode() -> None:
    assert CheckpointConfig().direction == "min"
    assert CheckpointConfig(monitor="val/accuracy").direction == "max"
    assert CheckpointConfig(monitor="val/accuracy", mode="min").direction == "min"
    with pytest.raises(ValueError, match="whether less or more of val/mine is better, its name does not tell"):
        _ = CheckpointConfig(monitor="val/mine").direction
    assert CheckpointConfig(monitor="val/mine", mode="max").direction == "max"
