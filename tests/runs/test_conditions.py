"""Conditions on runs: ``--where`` and ``--since``."""

from datetime import datetime, timedelta

import pytest

from hpc_dl.errors import HpcDlError
from hpc_dl.runs.conditions import Condition, is_since, time_of_since

ROW = {
    "optimizer.lr": 0.01, "seed": 3, "state": "failed", "trainer.figures": False, "val/loss": "nan",
    "tags": ["a", "b", "1.10", "007"], "submitted": "2026-11-30T12:00:00+0000", "none": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("optimizer.lr>1e-3", True),
        ("optimizer.lr >= 1e-2", True),
        ("optimizer.lr<1e-2", False),
        ("optimizer.lr=0.01", True),
        ("optimizer.lr==1", False),
        ("seed!=3", False),
        ("seed>text", False),
        ("state=failed", True),
        ("state!=failed", False),
        ("state<=9", False),
        ("trainer.figures=false", True),
        ("val/loss<1", False),
        ("val/loss!=1", True),
        ("tags=b", True),
        ("tags=c", False),
        ("tags!=c", True),
        ("tags=1.10", True),
        ("tags=007", True),
        ("tags=7", False),
        ("submitted>2026-11-29", True),
        ("submitted>2026-12-01", False),
        ("nosuch<1", False),
        ("nosuch!=1", True),
        ("none=null", True),
        ("none=", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert Condition.parse(text).holds(ROW) is holds


@pytest.mark.parametrize("text", ["", "seed", "=3", "seed=>3", "seed=[1]", "seed={a: 1}", "__import__('os')"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(HpcDlError, match=r"--where: is not a condition .*allowed: COLUMN"):
        Condition.parse(text)


def test_yaml_that_is_none_is_refused() -> None:
    with pytest.raises(HpcDlError, match="not valid YAML"):
        Condition.parse("seed=[1")


def test_since() -> None:
    now = datetime(2026, 11, 30, 12).astimezone()
    assert time_of_since("36h", now) == now - timedelta(hours=36)
    assert time_of_since("2w", now) == now - timedelta(days=14)
    assert time_of_since("2026-11-30T11:30", now) == now - timedelta(minutes=30)
    assert is_since(now.strftime("%Y-%m-%dT%H:%M:%S%z"), now) and not is_since("2026-11-01T00:00:00+0000", now)
    assert not is_since(None, now) and not is_since("?", now)


@pytest.mark.parametrize("text", ["", "yesterday", "3", "3m", "999999w", "-1d", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(HpcDlError, match="--since: is neither a date nor an age"):
        time_of_since(text)
