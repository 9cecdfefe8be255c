"""Trainings in this process, from the run folder to the result, on data that take no time."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from hpc_dl.regular_files import read_json
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.model_building import build_model
from hpc_dl.training.train import train
from tests import experiments

METRICS = {"loss", "accuracy", "balanced_accuracy", "f1"}


def trained(folder: Path, file: Path, **sections: Any) -> RunFolder:
    run = experiments.prepared(folder, experiments.raw(file, **sections))
    train(run)
    return run


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
def test_training_is_reproducible_bit_for_bit(tmp_path: Path, image_file: Path) -> None:
    sections = {
        "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5},
        "trainer": {"max_epochs": 2},
    }
    first, same = (trained(tmp_path, image_file, **sections) for _ in range(2))
    other_seed = trained(tmp_path, image_file, seed=8, **sections)
    for checkpoint in ("last_checkpoint", "best_checkpoint"):
        a, b, c = (weights(getattr(run, checkpoint)) for run in (first, same, other_seed))
        assert set(a) == set(b) and all(torch.equal(value, b[key]) for key, value in a.items())
        assert not torch.equal(a["features.0.0.weight"], c["features.0.0.weight"])
    assert read_json(first.result)["metrics"] == read_json(same.result)["metrics"]
    timed = ("time", "train/samples_per_s")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in read_journal(r.journal)] for r in (first, same)
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_dropout_depends_on_the_seed(tmp_path: Path, image_file: Path) -> None:
    # The losses are compared, since a dropout seeded by the clock would not change any shape. The
    # third run shows that dropout changes them at all.
    model = {"name": "mlp", "width": 32, "depth": 1}
    losses = []
    for dropout in (0.5, 0.5, 0.0):
        run = trained(tmp_path, image_file, model={**model, "dropout": dropout})
        losses.append([row["train/loss"] for row in read_journal(run.journal)])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_result_belongs_to_the_best_checkpoint(tmp_path: Path, image_file: Path) -> None:
    # With so large a learning rate the validation loss rises and falls.
    run = trained(tmp_path, image_file, optimizer={"name": "sgd", "lr": 2.0}, trainer={"max_epochs": 8})
    result = read_json(run.result)
    rows = [row for row in read_journal(run.journal) if "val/loss" in row]
    assert len(rows) == 8
    best = min(rows, key=lambda row: row["val/loss"])
    assert best is not rows[-1], "this test needs a best checkpoint that is not the last one"
    assert {f"{split}/{name}" for split in ("val", "test") for name in METRICS} | {"train/loss"} == set(
        result["metrics"]
    )
    for name in METRICS:
        assert result["metrics"][f"val/{name}"] == pytest.approx(best[f"val/{name}"], rel=1e-6)
    checkpoint = torch.load(run.best_checkpoint, weights_only=True)
    assert checkpoint["global_step"] == best["step"]
    assert torch.load(run.last_checkpoint, weights_only=True)["global_step"] == 48 == result["steps"]

    # Loss and accuracy computed from the checkpoint, with each split as one batch
    experiment = Experiment.from_dict(yaml.load(run.config))
    data = open_spec(experiment.data)
    model = build_model(experiment, data)
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()
    module = HDF5DataModule(image_file, batch_size=100)
    for split, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        (batch,) = loader
        x, y = module.on_after_batch_transfer(batch, 0)
        with torch.no_grad():
            outputs = model(x)
        assert len(y) == data.sizes[split]
        loss = torch.nn.functional.cross_entropy(outputs, y).item()
        assert result["metrics"][f"{split}/loss"] == pytest.approx(loss, rel=1e-5)
        accuracy = (outputs.argmax(1) == y).float().mean().item()
        assert result["metrics"][f"{split}/accuracy"] == pytest.approx(accuracy)
    module.teardown("test")


@pytest.mark.slow
def test_best_checkpoint_by_highest_accuracy(tmp_path: Path, image_file: Path) -> None:
    run = trained(
        tmp_path,
        image_file,
        optimizer={"name": "sgd", "lr": 0.5},
        trainer={"max_epochs": 12},
        checkpoint={"monitor": "val/accuracy", "mode": "max"},
    )
    accuracies = [row["val/accuracy"] for row in read_journal(run.journal) if "val/accuracy" in row]
    assert read_json(run.result)["metrics"]["val/accuracy"] == pytest.approx(max(accuracies))
    assert max(accuracies) > accuracies[0]


@pytest.mark.slow
def test_files_of_a_finished_run(tmp_path: Path, image_file: Path) -> None:
    run = trained(tmp_path, image_file, trainer={"max_epochs": 2})
    result = json.loads(run.result.read_text())
    assert result.pop("seconds") > 0
    assert result.pop("metrics")
    assert result.pop("diagnosis")["fit"] in ("good", "underfit", "overfit")
    assert result == {
        "run": run.name,
        "dir": str(run.path),
        "state": "finished",
        "epochs": 2,
        "steps": 12,
        "parameters": 64 * 8 + 8 + 8 * 3 + 3,
        "world_size": 1,
        "device": "cpu",
        "seed": 7,
    }
    assert {"state": "finished", "step": 12, "attempt": 0}.items() <= read_state(run).items()
    log = run.log(0).read_text()
    assert "mlp with 547 parameters on tiny (48 train, 13 val, 11 test), 1 × cpu, seed 7" in log
    assert "epoch 2/2" in log
    best = run.best_checkpoint.resolve().name
    assert {path.name for path in run.checkpoints.iterdir()} == {
        "step-00000012.ckpt", "step-00000012.ckpt.sha256", "last.ckpt", best, f"{best}.sha256", "best.ckpt",
    }  # fmt: skip
    assert run.last_checkpoint.resolve().name == "step-00000012.ckpt"
    assert best in ("best-00000006.ckpt", "best-00000012.ckpt")
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "provenance.json", "code", "lock", "state.json", "journal", "checkpoints", "logs", "submitit",
        "result.json", "attempts.jsonl", "timings.json", "layout", "usage",
    }  # fmt: skip
    started, ended = history(run)
    assert (started["event"], started["attempt"], started["from_step"], started["world_size"]) == ("started", 0, 0, 1)
    assert (ended["event"], ended["attempt"], ended["state"], ended["step"]) == ("ended", 0, "finished", 12)
    timings = read_json(run.timings)
    assert {"boundary_s", "checkpoint_s", "checkpoint_share", "lead_s"} <= set(timings)
    assert 0 < timings["checkpoint_s"] < timings["lead_s"] and 0 < timings["checkpoint_share"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "splits"),
    [
        ({"train": 48, "test": 11}, {"test"}),
        pytest.param({"train": 48, "val": 13}, {"val"}, marks=pytest.mark.slow),
        pytest.param({"train": 48}, set(), marks=pytest.mark.slow),
        ({"train": 48, "val": 1, "test": 1}, {"val", "test"}),
    ],
    ids=["no-val", "no-test", "train-only", "one-sample"],
)
def test_missing_and_tiny_splits(tmp_path: Path, sizes: dict[str, int], splits: set[str]) -> None:
    run = trained(tmp_path, experiments.classification_file(tmp_path, sizes), trainer={"max_epochs": 2})
    metrics = read_json(run.result)["metrics"]
    assert set(metrics) == {"train/loss"} | {f"{split}/{name}" for split in splits for name in METRICS}
    assert all(math.isfinite(value) for value in metrics.values())
    if "val" not in splits:  # without a validation, the last weights count as the best
        assert torch.load(run.best_checkpoint, weights_only=True)["global_step"] == 12


@pytest.mark.slow
def test_regression(tmp_path: Path) -> None:
    run = trained(tmp_path, experiments.regression_file(tmp_path), model={"name": "linear"}, trainer={"max_epochs": 20})
    metrics = read_json(run.result)["metrics"]
    assert set(metrics) == {"train/loss"} | {
        f"{split}/{name}" for split in ("val", "test") for name in ("loss", "mse", "mae", "r2")
    }
    assert metrics["test/r2"] > 0.95
    assert metrics["test/loss"] == pytest.approx(metrics["test/mse"], rel=1e-5)


def test_fault_found_in_the_job_is_recorded(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    run = experiments.prepared(tmp_path, experiments.raw(file))
    file.unlink()
    with pytest.raises(DataError, match="does not exist"):
        train(run)
    assert read_state(run)["reason"].startswith(f"{file}: does not exist.")


@pytest.mark.slow
def test_diverged_training_writes_valid_json(tmp_path: Path, image_file: Path) -> None:
    trainer = {"max_epochs": 2, "on_nan": "continue"}
    run = trained(tmp_path, image_file, optimizer={"name": "sgd", "lr": 1e30}, trainer=trainer)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    metrics = json.loads(run.result.read_text(), parse_constant=refuse)["metrics"]
    assert metrics["val/loss"] == metrics["test/loss"] == "nan"
    assert math.isnan(read_journal(run.journal)[-1]["val/loss"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", ["bf16-mixed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("64-true", "bf16-true"))]
)
def test_precision_of_saved_weights(tmp_path: Path, image_file: Path, precision: str) -> None:
    run = trained(tmp_path, image_file, trainer={"precision": precision, "max_epochs": 2})
    dtype = weights(run.best_checkpoint)["hidden.0.weight"].dtype
    assert dtype == {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert read_json(run.result)["metrics"]["val/loss"] < 1.2


@pytest.mark.slow
def test_each_attempt_has_its_own_journal_file(tmp_path: Path, image_file: Path) -> None:
    run = trained(tmp_path, image_file)
    train(run)
    assert [path.name for path in sorted(run.journal.iterdir())] == ["attempt-000.jsonl", "attempt-001.jsonl"]
    assert read_state(run)["attempt"] == 1
    assert read_json(run.result)["steps"] == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        pytest.param({"name": "cosine", "warmup_steps": 2}, "", marks=pytest.mark.slow),
        ({"name": "cosine", "warmup_steps": 6}, "warm-up outlasts the training: the peak rate is never reached"),
    ],
    ids=["short-warm-up", "long-warm-up"],
)
def test_log_mentions_a_long_warm_up(tmp_path: Path, image_file: Path, schedule: dict[str, Any], message: str) -> None:
    log = trained(tmp_path, image_file, schedule=schedule).log(0).read_text()
    assert ("warm-up" in log) == bool(message) and message in log
