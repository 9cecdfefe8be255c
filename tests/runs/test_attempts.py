"""The history of a run's attempts."""

from pathlib import Path

import pytest

from hpc_dl.runs.attempts import attempts_without_progress, history, record, requeues_at_time_limit
from hpc_dl.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_each_event_is_one_line(run: RunFolder) -> None:
    assert history(run) == []
    record(run, "started", attempt=0, from_step=0)
    record(run, "ended", attempt=0, state="stopped", step=7)
    started, ended = history(run)
    assert (started["event"], started["attempt"], started["from_step"]) == ("started", 0, 0)
    assert (ended["event"], ended["state"], ended["step"]) == ("ended", "stopped", 7)
    assert started["time"] <= ended["time"]
    assert len(run.attempts.read_text().splitlines()) == 2


def test_incomplete_lines_are_skipped(run: RunFolder) -> None:
    record(run, "started", attempt=0)
    with run.attempts.open("a") as file:
        file.write('{"event": "ended", "sta')
    assert [line["attempt"] for line in history(run)] == [0]
    record(run, "started", attempt=1)
    record(run, "ended", attempt=1)
    assert [(line["event"], line["attempt"]) for line in history(run)] == [("started", 0), ("started", 1), ("ended", 1)]


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"\0\0\0\0\n", b"[]\n", b"17\n", b"{}\n"])
def test_damaged_lines_are_skipped(run: RunFolder, damage: bytes) -> None:
    record(run, "ended", requeue=True)
    with run.attempts.open("ab") as file:
        file.write(damage)
    record(run, "ended", requeue=True)
    assert [line["event"] for line in history(run)] == ["ended", "ended"]
    assert requeues_at_time_limit(run) == 2


def test_requeues_are_counted_since_the_last_resume(run: RunFolder) -> None:
    assert requeues_at_time_limit(run) == 0
    for requeue in (True, False, True):
        record(run, "started")
        record(run, "ended", requeue=requeue)
    assert requeues_at_time_limit(run) == 2
    record(run, "resumed")
    assert requeues_at_time_limit(run) == 0
    record(run, "ended", requeue=True)
    record(run, "ended", state="finished")
    assert requeues_at_time_limit(run) == 1


def test_attempts_without_progress_are_the_latest_from_one_step(run: RunFolder) -> None:
    assert attempts_without_progress(run) == 0
    for from_step, expected in ((0, 1), (0, 2), (7, 1), (7, 2), (7, 3)):
        record(run, "started", from_step=from_step)
        assert attempts_without_progress(run) == expected
        record(run, "ended", state="stopped", step=from_step)
    record(run, "resumed")
    assert attempts_without_progress(run) == 0
