"""The Stop button in W&B is noticed soon, obeyed once, and asking for it disturbs nobody."""

from pathlib import Path

import pytest

from hpc_dl.tracking import wandb_stop_button
from hpc_dl.tracking.wandb_account import account
from hpc_dl.tracking.wandb_description import STOPPED
from hpc_dl.tracking.wandb_stop_button import StopButton

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun, wait

PLACE = ("test-entity", "hpc_dl", "a-run")


@pytest.fixture
def pressed() -> list[str]:
    """What the button under test has done."""
    return []


@pytest.fixture
def button(tmp_path: Path, pressed: list[str]) -> StopButton:
    return StopButton(tmp_path, lambda: pressed.append("stop"))


def test_query_reports_the_pressed_button(button: StopButton, pressed: list[str], wandb_server: FakeWandb) -> None:
    button.ask(account(), PLACE)
    assert pressed == []
    wandb_server.stopped.add("a-run")
    button.ask(account(), PLACE)
    assert pressed == ["stop"]
    assert 5 <= button.wait_s <= 10


def test_button_is_obeyed_once(tmp_path: Path, button: StopButton, pressed: list[str], wandb_server: FakeWandb) -> None:
    """W&B may still say that the run is stopped when it resumes; a second press counts again."""
    wandb_server.stopped.add("a-run")
    button.ask(account(), PLACE)
    resumed = StopButton(tmp_path, lambda: pressed.append("stop again"))
    resumed.ask(account(), PLACE)
    assert pressed == ["stop"]
    wandb_server.stopped.clear()
    resumed.ask(account(), PLACE)
    wandb_server.stopped.add("a-run")
    resumed.ask(account(), PLACE)
    assert pressed == ["stop", "stop again"]


@pytest.mark.parametrize(("status", "retry_after", "longest_s"), [(429, "120", 120), (500, None, 15), (403, None, 15)])
def test_failed_question_comes_later_again(
    button: StopButton,
    pressed: list[str],
    wandb_server: FakeWandb,
    status: int,
    retry_after: str | None,
    longest_s: int,
) -> None:
    wandb_server.next_responses.append((status, retry_after))
    button.ask(account(), PLACE)
    assert longest_s - 5 < button.wait_s <= longest_s
    assert (wandb_server.requests["RunStoppedStatus"], pressed) == (1, [])
    button.ask(account(), PLACE)
    assert button.wait_s <= wandb_stop_button.INTERVAL_S


@pytest.mark.parametrize("by_query", [True, False])
def test_both_ways_reach_the_training(
    run: ReportedRun, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch, by_query: bool
) -> None:
    monkeypatch.setattr(wandb_stop_button, "INTERVAL_S", 0.05 if by_query else 1000.0)
    monkeypatch.setattr(wandb_server, "reports_stop_in_stream", not by_query)
    attempt = run.attempt()
    attempt.log(1, 10)
    attempt.wait_for_rows(9)
    assert run.num_stops == 0
    wandb_server.stopped.add(run.id)
    wait(lambda: run.num_stops > 0)
    attempt.end(STOPPED)
    run.check(10, "preempted")
    assert run.num_stops == 1
    assert run.other_messages() == []


def test_server_without_the_query_is_not_mentioned(
    run: ReportedRun, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_stop_button, "INTERVAL_S", 0.02)
    graphql = wandb_server._graphql
    monkeypatch.setattr(wandb_server, "_graphql", lambda query, v: {} if "stopped" in query else graphql(query, v))
    attempt = run.attempt()
    attempt.log(1, 10)
    wait(lambda: wandb_server.requests["RunStoppedStatus"] >= 2)
    attempt.end()
    run.check(10)
    assert (run.num_stops, run.other_messages()) == (0, [])


def test_offline_run_asks_nothing(run: ReportedRun, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_stop_button, "INTERVAL_S", 0.0)
    attempt = run.attempt(mode="offline")
    attempt.log(1, 10)
    attempt.end()
    assert not wandb_server.requests
