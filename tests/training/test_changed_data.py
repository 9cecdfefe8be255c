"""Trainings whose data file is changed: one line, an honest state, intact checkpoints."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.data.storage import file_version
from hpc_dl.errors import DataError
from hpc_dl.runs.attempts import history
from hpc_dl.runs.checkpoints import listed, problem_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.training.callbacks import TrainingMetrics
from hpc_dl.training.train import train
from tests import experiments
from tests.data.storage.test_changed_files import CHANGES


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    file = experiments.classification_file(tmp_path, {"train": 24, "val": 8, "test": 8})
    sections = {"trainer": {"max_epochs": 2, "log_every_n_steps": 1}, "checkpoint": {"every": "2 steps"}}
    return experiments.prepared(tmp_path, experiments.raw(file, **sections))


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Act once, after the optimizer step with this number."""
    original = TrainingMetrics.on_train_batch_end

    def hook(self: Any, trainer: Any, *arguments: Any, **options: Any) -> None:
        original(self, trainer, *arguments, **options)
        if trainer.global_step == step:
            act()

    monkeypatch.setattr(TrainingMetrics, "on_train_batch_end", hook)


@pytest.mark.parametrize("change", ["truncated", "overwritten", "replaced", "removed"])
def test_changed_file_ends_the_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str) -> None:
    monkeypatch.setattr(file_version, "_SECONDS_BETWEEN_CHECKS", 0.0)
    file = experiments.classification_file(tmp_path, {"train": 24, "val": 8, "test": 8})
    sections = {"trainer": {"max_epochs": 2}, "checkpoint": {"every": "2 steps"}}
    run = experiments.prepared(tmp_path, experiments.raw(file, **sections))
    at_step(monkeypatch, 3, lambda: CHANGES[change][0](file))
    with pytest.raises(DataError) as caught:
        train(run)
    assert str(caught.value).count("\n") == 0
    assert "classes.h5" in str(caught.value)
    state = read_state(run)
    assert state["state"] == "failed"
    assert "while it was being read" in state["reason"]
    assert [event["state"] for event in history(run) if event["event"] == "ended"] == ["failed"]
    (kept,) = listed(run.checkpoints, "step")
    assert kept.step == 2 and not problem_of(kept)
    assert not run.result.exists()


@pytest.mark.parametrize(("step", "kept"), [(1, []), (3, [2]), (5, [2, 4])])
def test_no_checkpoint_follows_a_change_that_is_seconds_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: int, kept: list[int]
) -> None:
    """The whole training takes less time than there is between two checks."""
    monkeypatch.setattr(file_version, "_SECONDS_BETWEEN_CHECKS", 3600.0)
    file = experiments.classification_file(tmp_path, {"train": 48, "val": 8, "test": 8})
    sections = {"trainer": {"max_epochs": 1}, "checkpoint": {"every": "2 steps"}}
    run = experiments.prepared(tmp_path, experiments.raw(file, **sections))
    at_step(monkeypatch, step, lambda: CHANGES["overwritten"][0](file))
    with pytest.raises(DataError, match="was changed"):
        train(run)
    assert [checkpoint.step for checkpoint in listed(run.checkpoints, "step")] == kept
    assert not listed(run.checkpoints, "best")


def test_change_during_the_test_leaves_no_result(monkeypatch: pytest.MonkeyPatch, run: RunFolder) -> None:
    monkeypatch.setattr(file_version, "_SECONDS_BETWEEN_CHECKS", 3600.0)
    original = torch.load

    def load(path: Any, *arguments: Any, **options: Any) -> Any:  # the best weights, before the test
        os.utime(run.path.parent.parent / "classes.h5")
        return original(path, *arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(DataError, match="was changed"):
        train(run)
    assert read_state(run)["state"] == "failed"
    assert not run.result.exists()
