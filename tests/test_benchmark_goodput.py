"""The goodput at ten kills an hour, computed from measured parts."""

import pytest

from benchmarks.preemption.goodput import KILLS_PER_HOUR, goodput
from hpc_dl.training.stopping.checkpoint_interval import auto_interval_s

MEASURED = {"stop_s": 1.0, "checkpoint_s": 0.5, "start_s": {"together": 5.0}}


def test_each_kill_costs_a_start_and_what_it_destroys() -> None:
    assert goodput(MEASURED, interval_s=50.0, is_warned=True) == pytest.approx((360 - 5 - 1) / 1.01 / 360)
    assert goodput(MEASURED, interval_s=50.0, is_warned=False) == pytest.approx((360 - 5 - 25) / 1.01 / 360)


def test_automatic_interval_after_a_kill_loses_the_least() -> None:
    best = auto_interval_s(0.5, 3600 / KILLS_PER_HOUR)
    values = [goodput(MEASURED, interval_s=factor * best, is_warned=False) for factor in (0.5, 1.0, 2.0)]
    assert max(values) == values[1]
