"""Confidence intervals of 95%: Student's t for means, Wilson's for proportions; free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Quantiles of Student's t for a two-sided interval of 95%, by degrees of freedom (Student, 1908);
# not from SciPy, which comes with the extra `baseline` only.
_T = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL = 1.959964


def student_t(values: Sequence[float] | NDArray[np.floating]) -> tuple[float, float]:
    """The mean and half the width of its confidence interval; NaN for a single value.

    The interval is two-sided, with the quantile of Student's t distribution.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, _t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def with_interval(mean: float, half_width: float | None) -> str:
    """A mean as text, with half the width of its interval where there is one."""
    return f"{mean:.4g}" if half_width is None or math.isnan(half_width) else f"{mean:.4g} ± {half_width:.2g}"


def wilson(successes: int, count: int) -> tuple[float, float]:
    """The confidence interval of a proportion (Wilson, 1927), which also holds near 0 and 1.

    Args:
        successes: how many of ``count``.
        count: at least 1.

    Returns:
        Its lower and upper end, within [0, 1].
    """
    share, z = successes / count, _NORMAL
    shrink = 1 + z**2 / count
    center = (share + z**2 / (2 * count)) / shrink
    half_width = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / shrink
    return max(0.0, center - half_width), min(1.0, center + half_width)


def _t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t, by its expansion around the normal distribution if large.

    Abramowitz and Stegun (1964), 26.7.5; the error is below 0.0001.
    """
    if degrees < len(_T):
        return _T[degrees]
    z, n = _NORMAL, degrees
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / n + second / n**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
