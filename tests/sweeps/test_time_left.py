"""How long a sweep will still take, from what its members are doing."""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.overview import RunOverview
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.sweeps.time_left import time_left_s

TOOK_100_S = ("finished", {"seconds": 100.0}, {})
WAITS: tuple[str, dict[str, Any], dict[str, Any]] = ("pending", {}, {})


def runs_on(left_s: float | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return ("running", {}, {} if left_s is None else {"left_s": left_s})


@pytest.mark.parametrize(
    ("members", "left_s"),
    [
        ([TOOK_100_S, runs_on(20), runs_on(40), WAITS, WAITS], 130),  # (20 + 40 + 2 × 100) / 2
        ([TOOK_100_S, runs_on(None), WAITS], 200),
        ([runs_on(30), runs_on(500)], 500),  # the longest of the last ones
        ([TOOK_100_S, runs_on(30), ("failed", {}, {})], 30),
        ([runs_on(30), WAITS], None),  # how long the one that waits will take is unknown
        ([runs_on(None)], None),
        ([TOOK_100_S, WAITS], None),
        ([TOOK_100_S], None),
    ],
)
def test_time_left(members: list[tuple[str, dict[str, Any], dict[str, Any]]], left_s: float | None) -> None:
    assert (
        time_left_s([RunOverview({"state": state, **facts}, result, {}) for state, result, facts in members]) == left_s
    )


def test_pruned_members_count_with_the_time_that_they_trained(tmp_path: Path) -> None:
    run = RunFolder.create_at(tmp_path / "pruned")
    attempts.record(run, "ended", seconds=12.0)
    pruned = RunOverview({"state": "pruned", "dir": str(run.path)}, {}, {})
    waiting = [RunOverview({"state": "pending"}, {}, {})] * 2
    assert time_left_s([pruned, RunOverview({"state": "running", "left_s": 6.0}, {}, {}), *waiting]) == 30
