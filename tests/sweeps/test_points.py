"""The points of a sweep: which they are, and that more of them leave the earlier ones."""

from typing import Any

import pytest

from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.points import points_of

LR = {"log_uniform": [1e-4, 1e-1]}


def points(base: dict[str, Any] | None = None, **section: Any) -> list[dict[str, Any]]:
    return points_of(parse(SweepConfig, section, "sweep"), base or {})


def test_grid_has_all_combinations_in_order() -> None:
    parameters = {"optimizer.lr": {"values": [0.1, 0.01]}, "model.width": {"choice": [8, 16, 32]}}
    assert points(parameters=parameters) == [
        {"optimizer.lr": lr, "model.width": width} for lr in (0.1, 0.01) for width in (8, 16, 32)
    ]


def test_conditional_parameter_is_left_out_where_its_condition_fails() -> None:
    parameters = {
        "model.depth": {"values": [2, 3], "when": {"model.name": "cnn"}},
        "model.name": {"values": ["cnn", "linear"]},
    }
    assert points(parameters=parameters) == [
        {"model.name": "cnn", "model.depth": 2},
        {"model.name": "cnn", "model.depth": 3},
        {"model.name": "linear"},
    ]


def test_condition_may_name_a_setting_that_does_not_vary() -> None:
    parameters = {"model.depth": {"values": [2, 3], "when": {"model.name": "cnn"}}}
    assert len(points({"model": {"name": "cnn"}}, parameters=parameters)) == 2
    assert points({"model": {"name": "mlp"}}, parameters=parameters) == [{}]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"model.nmae": "cnn"}, "unknown setting .got 'model.nmae'.. Did you mean 'model.name'"),
        ({"model": "cnn"}, "unknown setting .got 'model'."),
        ({"optimizer.name": "adm"}, "never met.* .got 'adm'; allowed: adam, sgd.. Did you mean 'adam'"),
    ],
)
@pytest.mark.parametrize("method", ["grid", "random"])
def test_condition_that_can_never_be_met_is_refused(method: str, when: dict[str, Any], message: str) -> None:
    parameters = {
        "optimizer.name": {"values": ["adam", "sgd"]},
        "model.depth": {"values": [2, 3], "when": when},
    }
    trials = {"trials": 2} if method == "random" else {}
    with pytest.raises(ConfigError, match=rf"sweep\.parameters\.model\.depth\.when: .*{message}"):
        points({"model": {"name": "cnn"}}, method=method, parameters=parameters, **trials)


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_more_trials_add_points(method: str) -> None:
    section: dict[str, Any] = {
        "method": method,
        "parameters": {"optimizer.lr": LR, "model.width": {"int": [8, 64]}, "loss.l2": {"uniform": [0.0, 1.0]}},
    }
    few, many = points(**section, trials=5), points(**section, trials=40)
    assert many[:5] == few and len(many) == 40
    assert all(1e-4 <= point["optimizer.lr"] <= 1e-1 for point in many)
    assert all(isinstance(point["model.width"], int) and 8 <= point["model.width"] <= 64 for point in many)
    assert points(**section, trials=5, seed=1) != few


def test_sobol_covers_the_range_more_evenly_than_chance() -> None:
    section = {"method": "sobol", "parameters": {"loss.l2": {"uniform": [0.0, 16.0]}}, "trials": 16}
    assert sorted(int(point["loss.l2"]) for point in points(**section)) == list(range(16))


def test_both_ends_of_integers_are_drawn() -> None:
    drawn = points(method="random", parameters={"model.width": {"int": [3, 5]}}, trials=3)
    assert sorted(point["model.width"] for point in drawn) == [3, 4, 5]


def test_list_keeps_the_points_and_drops_repetitions() -> None:
    assert points(method="list", points=[{"seed_of": 1}, {"model.width": 4}, {"model.width": 4}]) == [
        {"seed_of": 1},
        {"model.width": 4},
    ]


def test_more_trials_than_points_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.trials: .*only 4 different points .*got 5"):
        points(method="random", parameters={"a.b": {"values": [1, 2]}, "a.c": {"values": [1, 2]}}, trials=5)


def test_conditions_in_a_circle_are_refused() -> None:
    with pytest.raises(ConfigError, match="depends on itself"):
        points(parameters={"a": {"values": [1], "when": {"b": 1}}, "b": {"values": [1], "when": {"a": 1}}})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "needs parameters"),
        ({"parameters": {"a": {"values": []}}}, "must have 1 or more items"),
        ({"parameters": {"a": {}}}, "exactly one of values, choice, uniform, log_uniform, int"),
        ({"parameters": {"a": {"values": [1], "int": [1, 2]}}}, "exactly one of"),
        ({"parameters": {"a": {"int": [2, 1]}}}, "the lower one first"),
        ({"parameters": {"a": {"log_uniform": [0.0, 1.0]}}, "method": "random", "trials": 1}, "above 0"),
        ({"parameters": {"a": {"uniform": [0, 1]}}}, "grid needs values for a"),
        ({"parameters": {"a": {"values": [1]}}, "trials": 3}, "trials has no effect with method grid"),
        (
            {"parameters": {"a": {"values": [1]}}, "method": "random", "trials": 1, "min_epochs": 2},
            "min_epochs has no effect with method random; it belongs to asha",
        ),
        ({"parameters": {"a": {"values": [1]}}, "method": "random"}, "needs trials"),
        ({"parameters": {"a": {"values": [1]}}, "method": "bayes"}, "not one of the allowed values"),
        ({"parameters": {"seed": {"values": [1]}}}, "use repeats"),
        ({"parameters": {"resources.nodes": {"values": [1]}}}, "cannot vary in a sweep"),
        ({"parameters": {"a": {"values": [1]}}, "points": [{"a": 1}]}, "points belong to method list"),
        ({"method": "list"}, "list needs points"),
        ({"parameter": {}}, "unknown key"),
        ({"parameters": {"a": {"values": [1]}}, "side_by_side": True}, "side_by_side needs per_task"),
        (
            {"parameters": {"a": {"values": [1]}}, "side_by_side": True, "per_task": 4, "parallel": 2},
            "starts all 4 runs of a task .* but parallel allows only 2",
        ),
    ],
)
def test_invalid_sections_are_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(SweepConfig, section, "sweep")
    assert len(str(caught.value).splitlines()) == 1
