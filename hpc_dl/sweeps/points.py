"""The points of a sweep: which settings each of its runs gets.

More trials or repeats only add points, and so do more values of a grid; those that were there
before stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpc_dl.errors import ConfigError, Fault, nearest
from hpc_dl.runs.settings import flattened
from hpc_dl.sweeps.config import Parameter, SweepConfig

Point = dict[str, Any]
"""The settings of a point by their dotted keys."""

_DRAWS_PER_POINT = 50  # before the values are considered exhausted


def points_of(sweep: SweepConfig, base: Mapping[str, Any]) -> list[Point]:
    """Return the points of a sweep, each once.

    Args:
        sweep: the section.
        base: the experiment, for conditions on settings that do not vary.

    Raises:
        ConfigError: there are fewer different points than trials, or a condition can never be met.
    """
    if sweep.method == "list":
        return _distinct(iter(sweep.points))
    check_conditions(sweep.parameters, base)
    parameters = conditional_last(sweep.parameters)
    if sweep.method == "grid":
        return _distinct(iter(_grid(parameters, base)))
    assert sweep.trials is not None
    draws = _random(sweep, len(parameters)) if sweep.method == "random" else _sobol(sweep, len(parameters))
    points = _distinct((_drawn(parameters, base, positions) for positions in draws), sweep.trials)
    if len(points) < sweep.trials:
        raise ConfigError.at(
            "sweep.trials",
            f"the parameters have only {len(points)} different points",
            value=sweep.trials,
            allowed=f"1 to {len(points)}",
            remedy="add values, or use method grid",
        )
    return points


def described(point: Mapping[str, Any]) -> str:
    """The settings of a point in one line."""
    return ", ".join(f"{key}={_short(value)}" for key, value in point.items()) or "the experiment as it is"


def applies(parameter: Parameter, point: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """Return whether the condition of a parameter is met.

    Args:
        parameter: the parameter.
        point: the settings that have been chosen.
        base: the experiment, for all other settings.
    """
    return all(point.get(key, _setting(base, key)) == value for key, value in parameter.when.items())


def check_conditions(parameters: Mapping[str, Parameter], base: Mapping[str, Any]) -> None:
    """Check that the conditions name settings and values that exist.

    Raises:
        ConfigError: with all that do not; their parameters would silently never vary.
    """
    faults = []
    known = [*parameters, *(key for key, _ in flattened(base))]
    for name, parameter in parameters.items():
        for key, value in parameter.when.items():
            where = f"sweep.parameters.{name}.when"
            if key not in known:
                remedy = nearest(key, known) or "use the dotted key of a setting"
                faults.append(Fault(where, "is about an unknown setting", value=key, remedy=remedy))
            elif key in parameters and (listed := parameters[key].listed) is not None and value not in listed:
                texts = [str(other) for other in listed]
                problem = f"is never met: the sweep gives {key} other values"
                remedy = nearest(str(value), texts)
                faults.append(Fault(where, problem, value=value, allowed=", ".join(texts), remedy=remedy))
    if faults:
        raise ConfigError(*faults)


def conditional_last(parameters: Mapping[str, Parameter]) -> list[tuple[str, Parameter]]:
    """Return the parameters in an order in which each comes after those that its condition names.

    Raises:
        ConfigError: a condition depends on itself.
    """
    ordered: dict[str, Parameter] = {}
    remaining = dict(parameters)
    while remaining:
        free = [key for key, parameter in remaining.items() if not any(other in remaining for other in parameter.when)]
        if not free:
            raise ConfigError.at(
                f"sweep.parameters.{next(iter(remaining))}.when", "depends on itself through other parameters"
            )
        ordered |= {key: remaining.pop(key) for key in free}
    return list(ordered.items())


def _grid(parameters: list[tuple[str, Parameter]], base: Mapping[str, Any]) -> list[Point]:
    points: list[Point] = [{}]
    for key, parameter in parameters:
        points = [
            chosen
            for point in points
            for chosen in (
                [{**point, key: value} for value in parameter.listed or ()]
                if applies(parameter, point, base)
                else [point]
            )
        ]
    return points


def _drawn(parameters: list[tuple[str, Parameter]], base: Mapping[str, Any], positions: np.ndarray) -> Point:
    point: Point = {}
    for (key, parameter), position in zip(parameters, positions, strict=True):
        if applies(parameter, point, base):
            point[key] = parameter.at(float(position))
    return point


def _random(sweep: SweepConfig, size: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(sweep.seed)
    assert sweep.trials is not None
    for _ in range(_DRAWS_PER_POINT * sweep.trials):
        yield generator.random(size)


def _sobol(sweep: SweepConfig, size: int) -> Iterator[np.ndarray]:
    import torch

    assert sweep.trials is not None
    engine = torch.quasirandom.SobolEngine(size, scramble=True, seed=sweep.seed)  # type: ignore[no-untyped-call]
    for _ in range(_DRAWS_PER_POINT):
        yield from engine.draw(sweep.trials, dtype=torch.float64).numpy()


def _distinct(points: Iterator[Point], most: int | None = None) -> list[Point]:
    known: dict[str, Point] = {}
    for point in points:
        known.setdefault(json.dumps(point, sort_keys=True, default=str), point)
        if len(known) == most:
            break
    return list(known.values())


def _setting(base: Mapping[str, Any], key: str) -> Any:
    value: Any = base
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
