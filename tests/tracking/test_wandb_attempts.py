"""Each row is in W&B once, however the attempts of a run end and whenever it is uploaded."""

import threading

import numpy as np
import pytest
import torch

from hpc_dl.tracking import wandb_upload
from hpc_dl.tracking.wandb_description import LOST, RUNNING, STOPPED, WAITING
from hpc_dl.tracking.wandb_errors import Refused
from hpc_dl.tracking.wandb_record import WandbRecord

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun, wait


def test_offline_run_that_was_killed_and_resumed(run: ReportedRun) -> None:
    killed = run.attempt(mode="offline")
    killed.log(1, 261)
    killed.kill()
    resumed = run.attempt(1, from_step=240, mode="offline")
    resumed.log(241, 500)
    resumed.end()
    assert run.messages[-1] == "W&B: to upload this run from a machine with network: hpc-dl sync RUN"
    for _ in range(2):
        assert run.sync().problem == ""
        run.check(500)


def test_offline_attempt_and_one_that_hangs_at_the_start(run: ReportedRun, wandb_server: FakeWandb) -> None:
    first = run.attempt(mode="offline")
    first.log(1, 250)
    first.end(STOPPED)
    wandb_server.hangs = True
    second = run.attempt(1, from_step=250)
    second.log(251, 400)
    second.end(limit_s=0.3)
    wandb_server.hangs = False
    run.sync()
    run.check(400)


def test_online_attempt_that_was_killed_and_an_offline_one(run: ReportedRun) -> None:
    killed = run.attempt()
    killed.log(1, 138)
    killed.wait_for_rows(137)
    killed.kill()
    resumed = run.attempt(1, from_step=120, mode="offline")
    resumed.log(121, 260)
    resumed.end()
    run.sync()
    run.check(260)


def test_offline_attempt_and_an_online_one(run: ReportedRun) -> None:
    first = run.attempt(mode="offline")
    first.log(1, 130)
    first.end(STOPPED)
    second = run.attempt(1, from_step=130)
    second.log(131, 260)
    second.end()
    run.check(260)
    run.sync()
    run.check(260)


def test_sync_of_a_running_training_does_not_end_it(run: ReportedRun) -> None:
    attempt = run.attempt(mode="offline")
    attempt.log(1, 213)
    proof = run.sync(RUNNING)
    assert (proof.received, proof.state) == (212, "running")
    attempt.log(214, 900)
    attempt.end()
    run.sync()
    run.check(900)


def test_sync_besides_an_online_training(run: ReportedRun) -> None:
    attempt = run.attempt()
    for start in range(1, 200, 20):
        attempt.log(start, start + 19)
        run.sync(RUNNING)
    attempt.end()
    run.check(200)


def test_two_syncs_at_the_same_time(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt(mode="offline")
    attempt.log(1, 100)
    attempt.end()
    wandb_server.delay_s = 0.02
    threads = [threading.Thread(target=run.sync) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.check(100)


def test_killed_run_is_not_closed(run: ReportedRun) -> None:
    attempt = run.attempt(mode="offline")
    attempt.log(1, 50)
    attempt.kill()
    assert run.sync(LOST).problem == ""
    run.check(50, "running")


def test_row_may_get_values_after_it_was_sent(run: ReportedRun, wandb_server: FakeWandb) -> None:
    """A run stops between the last step of an epoch and its validation, and is uploaded then."""
    stopped = run.attempt(mode="offline")
    stopped._add({"train/loss": 0.1}, 10)
    stopped.end(STOPPED)
    run.sync(STOPPED)
    run.check(1, "preempted")
    resumed = run.attempt(1, from_step=10)
    resumed._add({"val/loss": 0.2}, 10)
    resumed._add({"train/loss": 0.3}, 11)
    resumed.end()
    run.check(2)
    assert [row["_step"] for row in wandb_server.rows[run.id]] == [10, 11, 12]


def test_row_is_held_back_where_its_validation_follows(run: ReportedRun, wandb_server: FakeWandb) -> None:
    stopped = run.attempt()
    stopped._add({"train/loss": 0.1}, 9)
    stopped._add({"train/loss": 0.1}, 10)
    stopped.end(WAITING)
    assert [row["_step"] for row in wandb_server.rows[run.id]] == [9]
    resumed = run.attempt(1, from_step=10)
    resumed._add({"val/loss": 0.2}, 10)
    resumed.end()
    run.check(2)
    assert [row["_step"] for row in wandb_server.rows[run.id]] == [9, 10]


def test_row_of_an_earlier_step_arrives_too(run: ReportedRun) -> None:
    """Some modules log with the epoch as step."""
    attempt = run.attempt()
    attempt.log(1, 30)
    attempt.wait_for_rows(29)
    attempt._add({"own": 1.0}, 0)
    attempt._add({"own": 2.0}, 1)
    attempt.log(31, 40)
    attempt.end()
    run.check(41)


@pytest.mark.parametrize("damage", ["hole", "foreign"])
def test_other_rows_on_the_server_make_a_new_run(run: ReportedRun, wandb_server: FakeWandb, damage: str) -> None:
    attempt = run.attempt()
    attempt.log(1, 50)
    attempt.end(STOPPED)
    old, rows = run.id, wandb_server.rows[run.id]
    if damage == "hole":
        del rows[20]
    else:
        rows.append({"_step": 51, "trainer/global_step": 51, "x": 1.0})
    proof = run.sync()
    assert proof.problem == ""
    assert run.id != old
    run.check(50)
    assert WandbRecord.of(run.folder).replaces == [proof.url.replace(run.id, old)]
    assert proof.url.replace(run.id, old) in wandb_server.run(run.id)["notes"]


def test_lost_outbox_is_made_again(run: ReportedRun) -> None:
    attempt = run.attempt()
    attempt.log(1, 50)
    attempt.end(STOPPED)
    first = run.id
    (run.folder / "wandb" / "history.jsonl").unlink()
    run.sync()
    run.check(50)
    assert run.id == first


def test_interrupted_sync_can_be_repeated(run: ReportedRun, wandb_server: FakeWandb, monkeypatch) -> None:
    monkeypatch.setattr(wandb_upload, "_MOST_LINES", 10)
    attempt = run.attempt(mode="offline")
    attempt.log(1, 100)
    attempt.end()

    def interrupt(kind: str) -> None:
        if wandb_server.requests["file_stream"] == 4:
            wandb_server.refuse = 403

    wandb_server.on_request = interrupt
    with pytest.raises(Refused, match="status 403"):
        run.sync()
    assert 0 < run.num_rows() < 100
    wandb_server.on_request = lambda kind: None
    wandb_server.refuse = None
    run.sync()
    run.check(100)


def test_sync_between_two_passes_is_noticed(run: ReportedRun, monkeypatch) -> None:
    """Another process adds to the outbox what the training has not seen in this order."""
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "60")
    attempt = run.attempt()
    attempt.log(1, 20)
    wait(lambda: any("/runs/" in message for message in run.messages))
    first = run.id
    for step in range(21, 27):
        attempt.log(step, step)
        run.sync(RUNNING)
        attempt._add({"late": 1.0}, step - 5)  # W&B has that step already
    attempt.end()
    run.check(26)
    assert run.id == first


def test_names_that_each_line_has_may_be_logged(run: ReportedRun, wandb_server: FakeWandb) -> None:
    attempt = run.attempt(mode="offline")
    attempt._add({"_step": 7.0, "_timestamp": 8.0, "trainer/global_step": 9.0}, 1)
    attempt.end()
    for _ in range(2):
        assert run.sync().received == 1
    row = wandb_server.rows[run.id][0]
    assert {name: value for name, value in row.items() if name.startswith("logged/")} == {
        "logged/_step": 7.0,
        "logged/_timestamp": 8.0,
        "logged/trainer/global_step": 9.0,
    }


def test_values_that_cannot_be_recorded_do_not_end_the_training(run: ReportedRun, wandb_server: FakeWandb) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise ValueError("no")

        __repr__ = __str__

    endless: list[object] = []
    endless.append(endless)
    values = {"bad": Unprintable(), "endless": endless, "meta": torch.empty(1, device="meta")}
    others = {"complex": np.complex64(1j), "text": np.str_("x"), "day": np.datetime64("2026-01-01"), ("a", 1): 2}
    attempt = run.attempt(mode="offline")
    attempt.log(1, 1)
    attempt.tracker.experiment.log({**values, **others, "good": 1.0})
    attempt.tracker.experiment.summary.update(values)
    attempt.end()
    said = [message for message in run.messages if "is not recorded" in message]
    assert len(said) == len(values)
    run.sync()
    row = next(row for row in wandb_server.rows[run.id] if "good" in row)
    assert (row["complex"], row["text"], row["day"], row["('a', 1)"]) == ("1j", "x", "2026-01-01", 2)


def test_server_that_counts_late_is_asked_again(run: ReportedRun, wandb_server: FakeWandb, monkeypatch) -> None:
    monkeypatch.setattr(wandb_upload, "_LAG_S", (0.01, 0.01, 0.01))
    late = {"RunResumeStatus": 3, "Run": 2}  # how many answers after the rows and the end do not know them

    def count_late(kind: str, content: bytes) -> bytes:
        if wandb_server.requests["file_stream"] and late.get(kind, 0) > 0:
            late[kind] -= 1
            return content.replace(b'"historyLineCount": 20', b'"historyLineCount": 15').replace(
                b'"state": "finished"', b'"state": "running"'
            )
        return content

    attempt = run.attempt(mode="offline")
    attempt.log(1, 20)
    attempt.end()
    wandb_server.distort = count_late
    proof = run.sync()
    assert (proof.received, proof.state, proof.problem) == (20, "finished", "")
    assert set(late.values()) == {0}
    run.check(20)
