"""The importance of the parameters of a sweep."""

from typing import Any

import pytest

from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.importance import LEAST_POINTS, importance
from hpc_dl.sweeps.points import points_of
from hpc_dl.sweeps.ranking import RankedPoint

RANDOM = {
    "method": "random",
    "trials": 60,
    "parameters": {
        "optimizer.lr": {"log_uniform": [1e-4, 1.0]},
        "model.depth": {"int": [1, 4]},
        "model.name": {"values": ["mlp", "cnn"]},
    },
}
GRID = {
    "parameters": {
        "optimizer.lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]},
        "model.widths": {"values": [[1], [2], [3], [4]]},
    }
}


@pytest.mark.parametrize("section", [RANDOM, GRID], ids=["random", "grid"])
def test_parameter_that_decides_is_the_most_important(section: dict[str, Any]) -> None:
    config = parse(SweepConfig, section, "sweep")
    points = [
        RankedPoint(point, [abs(point["optimizer.lr"] - 0.1) + 1e-3 * number % 0.01], [str(number)])
        for number, point in enumerate(points_of(config, {}))
    ]
    shares = importance(config, points)
    assert next(iter(shares)) == "optimizer.lr" and shares["optimizer.lr"] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(config, points[: LEAST_POINTS - 1]) == {}
