"""Shortened lists and durations."""

import pytest

from hpc_dl.formatting import duration, shortened


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", 4], "a, b and 2 more")]
)
def test_shortened(names: list[object], text: str) -> None:
    assert shortened(names, most=2) == text


@pytest.mark.parametrize(
    ("seconds", "text", "whole_seconds"),
    [
        (0.0042, "0.004 s", "< 1 s"),
        (0.136, "0.136 s", "< 1 s"),
        (12.34, "12.3 s", "12 s"),
        (245, "4:05 min", "4:05 min"),
        (3723.4, "1:02:03 h", "1:02:03 h"),
    ],
)
def test_duration(seconds: float, text: str, whole_seconds: str) -> None:
    assert duration(seconds) == text
    assert duration(seconds, whole_seconds=True) == whole_seconds
