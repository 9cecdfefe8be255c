"""Exact resumes after stops before the first step, in validations and in the test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from tests.training.attempts import Stop, attempt, finish
from tests.training.stopping.interrupted_runs import BATCHES, prepared

SLOW = pytest.mark.slow


def _slow(stop: Stop, saved: int) -> Any:
    return pytest.param(stop, saved, marks=SLOW)


@pytest.mark.slow
@pytest.mark.parametrize(
    "hook",
    [
        "on_fit_start",
        *(pytest.param(f"on_{hook}_start", marks=SLOW) for hook in ("sanity_check", "train", "train_epoch")),
    ],
)
def test_stop_before_the_first_step_saves_nothing(
    tmp_path: Path, many_images: Path, hook: str, uninterrupted: Callable[..., RunFolder]
) -> None:
    trainer = {"max_epochs": 1, "num_sanity_val_steps": 2}
    reference = uninterrupted(trainer=trainer)
    run = prepared(tmp_path, many_images, trainer=trainer)
    assert attempt(run, Stop(0, hook)) == Stopped.exit_status
    assert list(run.checkpoints.iterdir()) == []
    state = read_state(run)
    assert (state["state"], state["step"]) == ("stopped", 0)
    assert "this attempt completed no step" in state["reason"]
    assert not run.requeue.exists()
    assert differences(finish(run), reference) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "saved"),
    [
        _slow(Stop(BATCHES, "on_train_batch_end"), BATCHES),  # the last batch of an epoch: the validation is due
        _slow(Stop(BATCHES, "on_validation_batch_start", batch=0), BATCHES),
        (Stop(BATCHES, "on_validation_batch_end", batch=1), BATCHES),
        _slow(Stop(BATCHES, "on_validation_end"), BATCHES),  # stops before the first batch of the next epoch
        _slow(Stop(BATCHES, "on_train_epoch_end"), BATCHES),
        _slow(Stop(BATCHES, "on_train_epoch_start"), BATCHES),
        _slow(Stop(2 * BATCHES, "on_validation_batch_end", batch=2), 2 * BATCHES),  # in the last validation of all
        _slow(Stop(2 * BATCHES - 1, "on_train_batch_start"), 2 * BATCHES),  # during the last step of all
        _slow(Stop(2 * BATCHES, "on_train_end"), 2 * BATCHES),
        (Stop(2 * BATCHES, "on_test_batch_start", batch=0), 2 * BATCHES),
        _slow(Stop(2 * BATCHES, "on_test_batch_end", batch=2), 2 * BATCHES),
    ],
    ids=lambda value: f"{value.hook}-{value.step}" if isinstance(value, Stop) else "",
)
def test_stop_at_a_boundary(
    tmp_path: Path, many_images: Path, stop: Stop, saved: int, uninterrupted: Callable[..., RunFolder]
) -> None:
    reference = uninterrupted(trainer={"max_epochs": 2})
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 2})
    assert attempt(run, stop) == Stopped.exit_status
    assert {"state": "stopped", "step": saved, "cause": "limit"}.items() <= read_state(run).items()
    assert listed(run.checkpoints, "step")[-1].step == saved
    assert read_json(run.result) is None
    assert differences(finish(run), reference) == []


@SLOW
def test_stop_after_the_last_test_batch_is_too_late(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1})
    assert attempt(run, Stop(BATCHES, "on_test_batch_end", batch=3)) == 0
    assert read_state(run)["state"] == "finished"


@SLOW
def test_stop_in_each_validation_with_max_steps(
    tmp_path: Path, many_images: Path, uninterrupted: Callable[..., RunFolder]
) -> None:
    # At the last stop the last step is done, but not its validation.
    trainer = {"max_epochs": None, "max_steps": 10, "val_check_interval": 5}
    reference = uninterrupted(trainer=trainer)
    stops = [Stop(step, "on_validation_batch_end", batch=1) for step in (5, 10, 10)]
    run = finish(prepared(tmp_path, many_images, trainer=trainer), *stops)
    assert differences(run, reference) == []
    assert [row["step"] for row in read_journal(run.journal) if "val/loss" in row] == [5, 10]


@SLOW
@pytest.mark.parametrize("step", [7, BATCHES, 2 * BATCHES], ids=["mid-epoch", "validation-due", "in-the-test"])
def test_stop_right_after_a_resume_saves_nothing(
    tmp_path: Path, many_images: Path, step: int, uninterrupted: Callable[..., RunFolder]
) -> None:
    hook = "on_test_batch_start" if step == 2 * BATCHES else "on_train_batch_end"
    trainer = {"max_epochs": 2}
    reference = uninterrupted(trainer=trainer)
    run = prepared(tmp_path, many_images, trainer=trainer)
    assert attempt(run, Stop(step, hook)) == Stopped.exit_status
    run.requeue.unlink()  # as the batch script does
    before = {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")}
    again = Stop(step, "on_test_batch_start" if step == 2 * BATCHES else "on_train_epoch_start")
    for _ in range(2):
        assert attempt(run, again) == Stopped.exit_status
        assert {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")} == before
        assert read_state(run)["step"] == step
        assert not run.requeue.exists()
    assert differences(finish(run), reference) == []
