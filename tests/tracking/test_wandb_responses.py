"""Whatever responds in place of a W&B server, a run's upload ends in bounded time with one line."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from hpc_dl.tracking import wandb_server as protocol
from hpc_dl.tracking.wandb_errors import Refused, SharedPatience, Unavailable, WandbError
from hpc_dl.tracking.wandb_server import _seconds

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun, wait

KINDS = ["Viewer", "RunResumeStatus", "UpsertBucket", "file_stream"]
CONTENTS = {
    "nothing": b"",
    "half": b'{"data": {"model',
    "page": b"<html><body>Please log in</body></html>",
    "binary": b"\xff\xfe\x00" * 50,
    "list": b"[]",
    "null": b"null",
    "number": b"17",
    "deep": b"[" * 100_000,
    "data_list": b'{"data": [1]}',
    "data_text": b'{"data": "x"}',
    "wrong_types": json.dumps({"data": dict.fromkeys(("viewer", "model", "upsertBucket", "project"), 5)}).encode(),
    "error_text": b'{"errors": "no"}',
    "error_object": b'{"errors": {"message": "no"}}',
    "error_numbers": b'{"errors": [1, 2]}',
    "escape": b'{"errors": [{"message": "\\u001b[31mred\\nline"}]}',
    "long_error": json.dumps({"errors": [{"message": "x" * 100_000}]}).encode(),
}
"""What a proxy, a login page or a defective server may send with status 200."""

BUCKETS = [
    {"historyLineCount": "many"},
    {"historyLineCount": -1},
    {"historyLineCount": 10, "historyTail": "no JSON"},
    {"historyLineCount": 10, "historyTail": [5]},
    {"historyLineCount": 10, "historyTail": json.dumps([json.dumps([1])])},
    {"historyLineCount": 0, "eventsLineCount": [1]},
]


@pytest.fixture
def finished(run: ReportedRun) -> ReportedRun:
    """A run of 20 rows that was trained offline."""
    attempt = run.attempt(mode="offline")
    attempt.log(1, 20)
    attempt.end()
    return run


def check_failure(run: ReportedRun, server: FakeWandb) -> str:
    """Check that a sync fails with one printable line; returns it."""
    with pytest.raises(WandbError) as caught:
        run.sync()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400
    return message


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_content_that_is_none_of_wandb(finished: ReportedRun, wandb_server: FakeWandb, content: bytes) -> None:
    accepted = content.startswith(b'{"data": ') and content.endswith(b"}")
    for kind in KINDS[: 3 if accepted else None]:  # nothing of the last ones is needed
        wandb_server.distort = lambda asked, good, kind=kind: content if asked == kind else good
        check_failure(finished, wandb_server)
    wandb_server.distort = lambda kind, good: good
    finished.sync()
    finished.check(20)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_values_of_another_type(finished: ReportedRun, wandb_server: FakeWandb, bucket: dict[str, object]) -> None:
    answer = json.dumps({"data": {"model": {"bucket": bucket}}}).encode()
    wandb_server.distort = lambda kind, good: answer if kind == "RunResumeStatus" else good
    assert "does not respond as a W&B server does" in check_failure(finished, wandb_server)
    assert not wandb_server.rows


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 418, 451])
def test_refusal_names_the_status(finished: ReportedRun, wandb_server: FakeWandb, status: int) -> None:
    wandb_server.refuse = status
    assert f"status {status}" in check_failure(finished, wandb_server)
    assert wandb_server.requests.total() == 1


def test_connection_that_ends_within_a_response(finished: ReportedRun, wandb_server: FakeWandb) -> None:
    def repair(kind: str) -> None:
        wandb_server.cut_off = wandb_server.requests.total() < 3

    wandb_server.on_request = repair
    finished.sync()
    finished.check(20)


def test_response_of_many_bytes_is_not_read(
    finished: ReportedRun, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_MOST_BYTES", 100_000)
    wandb_server.distort = lambda kind, good: b" " * 200_000
    assert "a response of more than" in check_failure(finished, wandb_server)


def test_response_in_drops_ends(
    finished: ReportedRun, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_MOST_SECONDS", 0.0)
    monkeypatch.setattr(SharedPatience, "UNREACHED_S", 0.3)
    with pytest.raises(Unavailable, match="its response does not end"):
        finished.sync()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5.0), ("", None), ("-1", None), ("²", None), ("soon", None), ("9" * 400, float("inf"))],
)
def test_wait_that_a_server_asks_for(header: str, seconds: float | None) -> None:
    assert _seconds(header) == seconds


def test_wait_until_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert _seconds(date) == pytest.approx(100, abs=5)
    assert _seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0


def test_large_requests_are_sent_in_parts(finished: ReportedRun, wandb_server: FakeWandb) -> None:
    wandb_server.most_bytes = 2500  # about eight rows
    finished.sync()
    finished.check(20)
    assert wandb_server.requests["file_stream"] > 4


def test_row_that_is_too_large_is_named(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt(mode="offline")
    attempt.log(1, 10)
    attempt.tracker.experiment.log({"text": "x" * 5000})  # belongs to step 0
    attempt.end()
    wandb_server.most_bytes = 4000
    with pytest.raises(Refused, match=r"status 413.* the row of step 0 has 5,\d+ bytes"):
        run.sync()


@pytest.mark.parametrize("name", ["a team", "größe", "研究", "a+b&c", "x" * 128])
def test_names_of_projects_and_owners(run: ReportedRun, wandb_server: FakeWandb, name: str) -> None:
    record = run.record()
    record.project = record.entity = name
    record.save(run.folder)
    attempt = run.attempt()
    attempt.log(1, 10)
    attempt.end()
    run.check(10)
    assert wandb_server.run(run.id)["project"] == name


@pytest.mark.parametrize("content", [CONTENTS["page"], CONTENTS["wrong_types"], CONTENTS["deep"]])
def test_training_goes_on(run: ReportedRun, wandb_server: FakeWandb, content: bytes) -> None:
    wandb_server.distort = lambda kind, good: content
    attempt = run.attempt()
    attempt.log(1, 20)
    wait(lambda: run.messages)
    assert "does not respond as a W&B server does" in run.messages[0]
    wandb_server.distort = lambda kind, good: good
    attempt.wait_for_rows(19)
    attempt.end()
    run.check(20)
    assert len(run.other_messages()) == 1


@pytest.mark.parametrize("name", ["WANDB_FINISH_TIMEOUT", "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"])
@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_durations_that_are_none(run: ReportedRun, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    attempt = run.attempt()
    attempt.log(1, 10)
    attempt.end()
    run.check(10)
