"""Confidence intervals, compared with SciPy's."""

import math
import statistics

import pytest

from hpc_dl.learning.intervals import student_t, wilson


def test_interval_is_that_of_student() -> None:
    from scipy.stats import t

    mean, half = student_t([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3)))
    assert math.isnan(student_t([1.0])[1])
    for count in [*range(2, 40), 1000]:
        values = [float(number) for number in range(count)]
        error = statistics.stdev(values) / math.sqrt(count)
        assert student_t(values)[1] == pytest.approx(t.ppf(0.975, count - 1) * error, rel=2e-4)


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (3, 10), (10, 10), (457, 1000), (0, 50)])
def test_interval_is_that_of_wilson(successes: int, count: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(successes, count).proportion_ci(method="wilson")
    assert wilson(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-7)
