"""Predicted and actual numbers of steps, and the steps at which a training validates."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.train import train
from hpc_dl.training.training_length import batches_per_epoch, total_steps
from tests import experiments
from tests.experiments import spec


def _slow(trainer: dict[str, Any], expected: Any) -> Any:
    return pytest.param(trainer, expected, marks=pytest.mark.slow)


def trained(folder: Path, file: Path, **sections: Any) -> RunFolder:
    run = experiments.prepared(folder, experiments.raw(file, **sections))
    train(run)
    return run


@pytest.mark.parametrize(
    ("sections", "batches", "steps"),
    [
        ({"data": {"batch_size": 10}}, 10, 20),
        ({"data": {"batch_size": 33}}, 3, 6),
        ({"data": {"batch_size": 10}, "resources": {"nodes": 2, "gpus_per_node": 2}}, 2, 4),
        ({"data": {"batch_size": None, "global_batch_size": 20}, "resources": {"gpus_per_node": 2}}, 5, 10),
        ({"data": {"batch_size": 10}, "trainer": {"accumulate_grad_batches": 3}}, 10, 8),
        ({"data": {"batch_size": 10}, "trainer": {"max_steps": 7}}, 10, 7),
        ({"data": {"batch_size": 10}, "trainer": {"max_epochs": None, "max_steps": 70}}, 10, 70),
        ({"data": {"batch_size": 10}, "trainer": {"limit_train_batches": 0.25}}, 2, 4),
    ],
)
def test_predicted_length(sections: dict[str, Any], batches: int, steps: int) -> None:
    sections["trainer"] = {"max_epochs": 2, **sections.get("trainer", {})}
    experiment = Experiment.from_dict(experiments.raw(Path("/data/paper.h5"), **sections))
    data = spec(train=105, val=10)
    assert (batches_per_epoch(experiment, data), total_steps(experiment, data)) == (batches, steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        _slow({"max_epochs": 2}, 12),
        _slow({"max_epochs": None, "max_steps": 3}, 3),
        ({"max_epochs": None, "max_steps": 8}, 8),
        ({"max_epochs": 1, "max_steps": 20}, 6),
        _slow({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 4),
        _slow({"max_epochs": 2, "accumulate_grad_batches": 6}, 2),
        _slow({"max_epochs": 1, "accumulate_grad_batches": 100}, 1),
        _slow({"max_epochs": 2, "limit_train_batches": 2}, 4),
        _slow({"max_epochs": 2, "limit_train_batches": 1}, 2),
        ({"max_epochs": 1, "limit_train_batches": 0.6}, 3),
        _slow({"max_epochs": 1, "limit_train_batches": 1.0}, 6),
        _slow({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 6),
        _slow({"max_epochs": 1, "limit_train_batches": 100}, 6),
    ],
)
def test_schedule_spans_the_steps_of_the_training(
    tmp_path: Path, image_file: Path, trainer: dict[str, Any], steps: int
) -> None:
    run = trained(tmp_path, image_file, trainer=trainer, schedule={"name": "cosine"})
    experiment = Experiment.from_dict(yaml.load(run.config))
    assert torch.load(run.last_checkpoint, weights_only=True)["global_step"] == steps
    assert read_json(run.result)["steps"] == steps == total_steps(experiment, open_spec(experiment.data))
    # The schedule reaches zero after the last step, neither earlier nor later.
    rows = read_journal(run.journal)
    rates = [row["train/lr"] for row in rows if "train/lr" in row]
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(rate > 0 for rate in rates[:-1])
    validations = [row["step"] for row in rows if "val/loss" in row]
    assert torch.load(run.best_checkpoint, weights_only=True)["global_step"] in (validations or [steps])


@pytest.mark.parametrize(
    ("trainer", "validations"),
    [
        _slow({"max_epochs": 2}, [6, 12]),
        _slow({"max_epochs": 3, "check_val_every_n_epoch": 2}, [12]),
        ({"max_epochs": 1, "val_check_interval": 2}, [2, 4, 6]),
        _slow({"max_epochs": 1, "val_check_interval": 0.5}, [3, 6]),
        ({"max_epochs": 1, "limit_val_batches": 0}, []),
        _slow({"max_epochs": None, "max_steps": 3}, []),
        _slow({"max_epochs": 1, "num_sanity_val_steps": 2}, [6]),
    ],
)
def test_validation_steps(tmp_path: Path, image_file: Path, trainer: dict[str, Any], validations: list[int]) -> None:
    run = trained(tmp_path, image_file, trainer=trainer)
    assert [row["step"] for row in read_journal(run.journal) if "val/loss" in row] == validations
    assert ("val/loss" in read_json(run.result)["metrics"]) == bool(validations)
    assert "test/accuracy" in read_json(run.result)["metrics"]
