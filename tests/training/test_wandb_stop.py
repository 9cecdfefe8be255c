"""The Stop button in W&B ends a training with a checkpoint."""

from pathlib import Path

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking import wandb_stop_button
from hpc_dl.tracking.wandb_record import WandbRecord
from hpc_dl.training.stopping import signals
from tests import experiments
from tests.tracking.fake_wandb import FakeWandb
from tests.training.attempts import attempt, output, start, wait

MOST_EPOCHS = 3000
"""Far more than a training that obeys gets through."""


def prepared(folder: Path, file: Path, epochs: int, **sections: object) -> RunFolder:
    content = experiments.raw(file, wandb={"mode": "auto"}, trainer={"max_epochs": epochs}, **sections)
    return experiments.prepared(folder, content)


def press_after_rows(run: RunFolder, server: FakeWandb, number: int = 5) -> None:
    """Have the button pressed once some rows have arrived."""
    run_id = WandbRecord.of(run.path).id

    def on_request(kind: str) -> None:
        if len(server.rows.get(run_id, [])) >= number:
            server.stopped.add(run_id)

    server.on_request = on_request


def check_stopped(run: RunFolder, server: FakeWandb) -> int:
    """Check that the run has stopped for the button; returns the step."""
    state = read_state(run)
    assert {"state": "stopped", "cause": "wandb", "reason": "stopped from W&B"}.items() <= state.items()
    assert 0 < state["step"] == listed(run.checkpoints, "step")[-1].step < 6 * MOST_EPOCHS
    assert not run.requeue.exists()
    assert history.history(run)[-1]["requeue"] is False
    assert server.state(WandbRecord.of(run.path).id) == "preempted"
    return int(state["step"])


@pytest.mark.slow
@pytest.mark.parametrize("by_query", [True, False])
def test_stop_button_ends_a_training_with_a_checkpoint(
    tmp_path: Path, image_file: Path, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch, by_query: bool
) -> None:
    monkeypatch.setattr(wandb_stop_button, "INTERVAL_S", 0.05)
    wandb_server.reports_stop_in_stream = not by_query
    run = prepared(tmp_path, image_file, MOST_EPOCHS)
    press_after_rows(run, wandb_server)
    assert attempt(run) == Stopped.exit_status
    check_stopped(run, wandb_server)


@pytest.mark.slow
def test_resumed_training_obeys_only_another_press(
    tmp_path: Path, image_file: Path, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B may still say that the run is to stop when it resumes."""
    monkeypatch.setattr(wandb_stop_button, "INTERVAL_S", 0.05)
    run = prepared(tmp_path, image_file, MOST_EPOCHS)
    press_after_rows(run, wandb_server)
    assert attempt(run) == Stopped.exit_status
    first = check_stopped(run, wandb_server)
    before = wandb_server.requests["RunStoppedStatus"]

    def on_request(kind: str) -> None:
        answered = wandb_server.requests["RunStoppedStatus"] - before
        if 4 <= answered < 6:
            wandb_server.stopped.clear()
        elif answered >= 6:
            wandb_server.stopped.add(WandbRecord.of(run.path).id)

    wandb_server.on_request = on_request
    assert attempt(run) == Stopped.exit_status
    assert wandb_server.requests["RunStoppedStatus"] - before >= 6
    assert check_stopped(run, wandb_server) > first


@pytest.mark.slow
def test_stop_button_ends_all_ranks(tmp_path: Path, image_file: Path, wandb_server: FakeWandb) -> None:
    run = prepared(tmp_path, image_file, MOST_EPOCHS, resources={"gpus_per_node": 0, "nodes": 2})
    press_after_rows(run, wandb_server)
    assert wait(start(run)) == Stopped.exit_status, output(run)
    check_stopped(run, wandb_server)


@pytest.mark.parametrize(
    ("earlier", "later", "counts"),
    [
        ("limit", "wandb", "wandb"),
        ("term", "wandb", "wandb"),  # or the requeued job would no longer obey
        ("wandb", "term", "wandb"),
        ("wandb", "limit", "wandb"),
        ("wandb", "interrupt", "interrupt"),  # so that a second Ctrl-C ends the process at once
    ],
)
def test_stop_button_among_other_requests(
    monkeypatch: pytest.MonkeyPatch, earlier: signals.Cause, later: signals.Cause, counts: signals.Cause
) -> None:
    monkeypatch.setattr(signals, "_request", None)
    signals.request(earlier, earlier)
    signals.request(later, later)
    request = signals.requested()
    assert request is not None
    assert request.cause == counts
