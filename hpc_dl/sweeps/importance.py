"""How much each parameter of a sweep matters for the objective; free of torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.learning.direction import known_direction
from hpc_dl.sweeps.config import Parameter, SweepConfig
from hpc_dl.sweeps.ranking import RankedPoint

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST_POINTS = 10
"""With fewer points chance decides."""


def importance(config: SweepConfig, points: Sequence[RankedPoint]) -> dict[str, float]:
    """Return the share of each parameter in what makes points good, largest first (PED-ANOVA).

    It compares the distribution of each parameter among the best tenth of the points with that
    among all (Watanabe et al., 2023).

    Args:
        config: the section ``sweep``; points of another section are not compared.
        points: the points that have finished.

    Returns:
        Shares that add up to 1, by the dotted key; empty with too few points, or without Optuna.
    """
    if len(points) < LEAST_POINTS:
        return {}
    try:
        import optuna
    except ImportError:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    maximize = known_direction(config.objective) == "max"
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    distributions = _distributions(config, points)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the method is marked as experimental
        for point in points:
            known = {key: value for key, value in point.point.items() if key in distributions}
            values = {key: _as_given(value, distributions[key]) for key, value in known.items()}
            study.add_trial(
                optuna.trial.create_trial(
                    value=point.mean, params=values, distributions={key: distributions[key] for key in values}
                )
            )
        return dict(optuna.importance.get_param_importances(study))


def _distributions(config: SweepConfig, points: Sequence[RankedPoint]) -> dict[str, BaseDistribution]:
    """The distribution of each parameter; of one that is always the same, none."""
    from optuna.distributions import CategoricalDistribution

    distributions: dict[str, BaseDistribution] = {}
    for key in dict.fromkeys(key for point in points for key in point.point):
        parameter = config.parameters.get(key)
        if parameter is not None and parameter.listed is None:
            distributions[key] = _range(parameter)
            continue
        values = dict.fromkeys(json.dumps(point.point[key]) for point in points if key in point.point)
        if len(values) > 1:
            distributions[key] = CategoricalDistribution(list(values))
    return distributions


def _range(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if parameter.integer is not None:
        return IntDistribution(*parameter.integer)
    if parameter.uniform is not None:
        return FloatDistribution(*parameter.uniform)
    assert parameter.log_uniform is not None
    return FloatDistribution(*parameter.log_uniform, log=True)


def _as_given(value: Any, distribution: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution

    return json.dumps(value) if isinstance(distribution, CategoricalDistribution) else value
