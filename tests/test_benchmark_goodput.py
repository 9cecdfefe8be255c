"""The goodput at ten kills an hour, computed from measured parts."""

import pytest

from benchmarks.preemption.goodput import best_interval_s, goodput

MEASURED = {"stop_s": 1.0, "checkpoint_s": 0.5, "start_s": {"together": 5.0}}


def test_each_kill_costs_a_start_and_what_it_destroys() -> None:
    assert goodput(MEASURED, interval_s=50.0, is_warned=True) == pytest.approx((360 - 5 - 1) / 1.01 / 360)
    assert goodput(MEASURED, interval_s=50.0, is_warned=False) == pytest.approx((360 - 5 - 25) / 1.01 / 360)


def test_best_interval_loses_the_least() -> None:
    best = best_interval_s(0.5)
    values = [goodput(MEASURED, interval_s=factor * best, is_warned=False) for factor in (0.5, 1.0, 2.0)]
    assert max(values) == values[1]
    assert best_interval_s(0.0) == 1.0
