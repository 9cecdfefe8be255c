"""Each row is in W&B once, whatever happens to the server, the network or the disk."""

import pytest

from hpc_dl.tracking import wandb_reporter
from hpc_dl.tracking.wandb_description import FAILED, STOPPED, Outcome
from tests.conftest import forget_settings

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun, wait


def test_healthy_server_gets_all_rows_without_sync(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    attempt.log(1, 60)
    attempt.end()
    run.check(60)
    assert run.messages == [f"W&B: {wandb_server.url}/test-entity/hpc_dl/runs/{run.id}"]


def test_rows_arrive_during_the_training_except_the_newest(run: ReportedRun) -> None:
    attempt = run.attempt()
    attempt.log(1, 12)
    attempt.wait_for_rows(11)
    attempt.log(13, 20)
    attempt.end()
    run.check(20)


@pytest.mark.parametrize("outcome", [FAILED, STOPPED])
def test_end_of_an_attempt_has_its_state(run: ReportedRun, outcome: Outcome) -> None:
    attempt = run.attempt()
    attempt.log(1, 20)
    attempt.end(outcome)
    run.check(20, outcome.state)


def test_server_that_dies_gets_the_rest_from_sync(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    attempt.log(1, 300)
    attempt.wait_for_rows(299)
    wandb_server.dead = True
    attempt.log(301, 600)
    run.wait_for_message("trying again. The training is not affected, the journal has all rows.")
    assert attempt.end(limit_s=0.3) < 2
    assert run.other_messages()[1:] == ["W&B: to upload this run from a machine with network: hpc-dl sync RUN"]
    wandb_server.dead = False
    proof = run.sync()
    assert (proof.expected, proof.received, proof.last_step, proof.state) == (600, 600, 600, "finished")
    run.check(600)


def test_connection_that_is_lost_for_a_while_is_found_again(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    attempt.log(1, 50)
    attempt.wait_for_rows(49)
    wandb_server.dead = True
    attempt.log(51, 60)
    run.wait_for_message("trying again")
    wandb_server.dead = False
    attempt.wait_for_rows(59)
    attempt.end()
    run.check(60)
    assert run.other_messages()[1:] == ["W&B: the server responds again."]


@pytest.mark.parametrize("number", [4, 10])
def test_end_waits_as_long_as_the_server_asks(run: ReportedRun, wandb_server: FakeWandb, number: int) -> None:
    attempt = run.attempt()
    attempt.log(1, 250)
    attempt.wait_for_rows(249)
    wandb_server.next_responses.extend([(429, "0")] * (number - 1) + [(429, "1")])
    attempt.log(251, 500)
    attempt.end()
    run.check(500)


def test_end_does_not_wait_longer_than_it_may(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    attempt.log(1, 20)
    attempt.wait_for_rows(19)
    wandb_server.next_responses.append((429, "3000"))
    wait(lambda: not wandb_server.next_responses)
    assert attempt.end(limit_s=0.3) < 2
    assert run.sync().problem == ""
    run.check(20)


@pytest.mark.parametrize("status", [500, 503])
def test_failing_server_gets_all_rows_when_it_works_again(
    run: ReportedRun, wandb_server: FakeWandb, status: int
) -> None:
    attempt = run.attempt()
    attempt.log(1, 20)
    attempt.wait_for_rows(19)
    wandb_server.next_responses.extend([(status, None)] * 5)
    attempt.log(21, 40)
    attempt.end()
    run.check(40)
    assert f"responds with status {status}" in run.other_messages()[0]


def test_server_that_hangs_gets_the_rest_from_sync(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    attempt.log(1, 300)
    attempt.wait_for_rows(299)
    wandb_server.hangs = True
    attempt.log(301, 600)
    assert attempt.end(limit_s=0.3) < 2
    wandb_server.dead = True  # what hung is never answered
    wandb_server.hangs = False
    wandb_server.dead = False
    run.sync()
    run.check(600)


def test_full_disk_under_wandbs_folder_loses_nothing(run: ReportedRun) -> None:
    (run.folder / "wandb").write_text("")  # nothing can be created in it
    attempt = run.attempt(mode="offline")
    attempt.log(1, 400)
    attempt.end()
    assert len(run.messages) == 2
    (run.folder / "wandb").unlink()
    run.sync()
    run.check(400)


def test_full_disk_of_an_online_run_is_said_once(run: ReportedRun) -> None:
    (run.folder / "wandb").write_text("")
    attempt = run.attempt()
    attempt.log(1, 100)
    wait(lambda: run.messages)
    attempt.end(limit_s=0.3)
    assert [message[:32] for message in run.messages] == [
        "W&B: rows could not be sent (Not",
        "W&B: to upload this run from a m",
    ]
    (run.folder / "wandb").unlink()
    run.sync()
    run.check(100)


def test_slow_start_of_a_healthy_server_keeps_the_live_view(run: ReportedRun, wandb_server: FakeWandb) -> None:
    wandb_server.hangs = True
    attempt = run.attempt()
    attempt.log(1, 30)
    wait(lambda: wandb_server.requests.total() > 0)
    wandb_server.hangs = False
    attempt.wait_for_rows(29)
    attempt.end()
    run.check(30)


def test_lost_response_repeats_no_row(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt()
    wandb_server.lose_responses = 3
    attempt.log(1, 50)
    attempt.end()
    run.check(50)


@pytest.mark.parametrize(("status", "hint"), [(401, "is the API key valid?"), (403, "is there quota left?")])
def test_refused_rows_are_reported_once(run: ReportedRun, wandb_server: FakeWandb, status: int, hint: str) -> None:
    attempt = run.attempt()
    attempt.log(1, 20)
    attempt.wait_for_rows(19)
    wandb_server.refuse = status
    attempt.log(21, 40)
    run.wait_for_message(hint)
    attempt.end(limit_s=0.5)
    assert run.other_messages()[1:] == ["W&B: to upload this run from a machine with network: hpc-dl sync RUN"]
    wandb_server.refuse = None
    run.sync()
    run.check(40)


def test_unreachable_server_does_not_delay_the_end(run: ReportedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    forget_settings()
    monkeypatch.setattr(wandb_reporter, "UNREACHED_S", 0.2)
    attempt = run.attempt()
    attempt.log(1, 20)
    wait(lambda: run.messages)
    assert attempt.end() < 2
    assert "127.0.0.1:9 cannot be reached (" in run.messages[0]
    assert "efused" in run.messages[0]
    assert len(run.messages) == 2
