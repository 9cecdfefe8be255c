"""The learning-rate range test: rates, smoothing, and the suggested rate."""

import numpy as np
import pytest
import torch

from hpc_dl.learning.range_test import rate_at, smoothed, suggest
from hpc_dl.learning.schedules import RangeTest

STEPS = 200
RATES = [rate_at(step, STEPS, 1e-6, 10) for step in range(STEPS)]


def losses(noise: float = 0.02) -> np.ndarray:
    """A loss that falls from 2.3 around a rate of 0.01, is lowest at 0.1, and then rises."""
    rates = np.array(RATES)
    falling = 2.0 / (1 + (rates / 0.01) ** 1.5) + 0.3
    return falling + (rates / 0.7) ** 2 + np.random.default_rng(0).normal(0, noise, STEPS)


def test_rates_rise_by_the_same_factor() -> None:
    assert (RATES[0], RATES[-1]) == (1e-6, pytest.approx(10))
    assert np.diff(np.log(RATES)) == pytest.approx(np.log(1e7) / (STEPS - 1))


def test_schedule_has_these_rates() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-6)
    scheduler = RangeTest(last=10).build(optimizer, STEPS)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(RATES)


def test_smoothing_is_centered() -> None:
    line = np.arange(50.0)
    assert smoothed(line)[5:-5] == pytest.approx(line[5:-5])
    assert smoothed(np.eye(1, 40, 20)[0])[19:22] == pytest.approx(1 / 3)


def test_suggestion_lies_where_the_loss_falls() -> None:
    found = suggest(RATES, losses().tolist())
    assert found["lowest"] == pytest.approx(0.1, rel=1)
    assert found["steepest"] == pytest.approx(0.01, rel=0.7)
    assert found["suggested"] == min(found["steepest"], found["lowest"] / 10)


@pytest.mark.parametrize(
    "values", [[2.3] * STEPS, np.random.default_rng(1).normal(2.3, 0.1, STEPS).tolist(), [2.0, 1.0]]
)
def test_no_suggestion_without_a_fall(values: list[float]) -> None:
    assert suggest(RATES[: len(values)], values)["suggested"] is None


def test_no_suggestion_for_a_loss_that_only_rises() -> None:
    values = 2.3 + np.array(RATES) + np.random.default_rng(2).normal(0, 0.01, STEPS)
    assert suggest(RATES, values.tolist())["suggested"] is None
