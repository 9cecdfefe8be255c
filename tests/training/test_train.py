"""From a run folder to a result, in this process, on data that take no time."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.atomic_files import read_json
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import open_spec
from hpc_dl.errors import ConfigError
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.preflight import build_model, total_steps
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


def test_two_runs_of_one_configuration_are_bit_for_bit_the_same_and_another_seed_is_not(
    tmp_path: Path, image_file: Path
) -> None:
    sections = {
        "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5},
        "trainer": {"max_epochs": 2},
    }
    first, same = (trained(tmp_path, image_file, **sections) for _ in range(2))
    other = trained(tmp_path, image_file, seed=8, **sections)
    for checkpoint in ("last_checkpoint", "best_checkpoint"):
        a, b, c = (weights(getattr(run, checkpoint)) for run in (first, same, other))
        assert set(a) == set(b) and all(torch.equal(value, b[key]) for key, value in a.items())
        assert not torch.equal(a["features.0.0.weight"], c["features.0.0.weight"])
    assert read_json(first.result)["metrics"] == read_json(same.result)["metrics"]
    timed = ("time", "train/samples_per_s")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in read_journal(r.journal)] for r in (first, same)
    ]
    assert rows[0] == rows[1]


def test_dropout_draws_from_the_seed(tmp_path: Path, image_file: Path) -> None:
    # Constant weights at the start would hide a dropout that is seeded by the clock: the losses
    # must agree, not only the shapes; and without dropout they must differ.
    model = {"name": "mlp", "width": 32, "depth": 1}
    losses = []
    for dropout in (0.5, 0.5, 0.0):
        run = trained(tmp_path, image_file, model={**model, "dropout": dropout})
        losses.append([row["train/loss"] for row in read_journal(run.journal)])
    assert losses[0] == losses[1] != losses[2]


def test_the_result_belongs_to_the_best_checkpoint(tmp_path: Path, image_file: Path) -> None:
    # So large a rate that the validation loss goes up and down.
    run = trained(tmp_path, image_file, optimizer={"name": "sgd", "lr": 2.0}, trainer={"max_epochs": 8})
    result = read_json(run.result)
    rows = [row for row in read_journal(run.journal) if "val/loss" in row]
    assert len(rows) == 8
    best = min(rows, key=lambda row: row["val/loss"])
    assert best is not rows[-1], "the test does not tell the best from the last"
    assert {f"{split}/{name}" for split in ("val", "test") for name in METRICS} | {"train/loss"} == set(
        result["metrics"]
    )
    for name in METRICS:
        assert result["metrics"][f"val/{name}"] == pytest.approx(best[f"val/{name}"], rel=1e-6)
    checkpoint = torch.load(run.best_checkpoint, weights_only=True)
    assert checkpoint["global_step"] == best["step"]
    assert torch.load(run.last_checkpoint, weights_only=True)["global_step"] == 48 == result["steps"]

    # The checkpoint, judged by hand, on whole splits in one batch
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


def test_the_best_may_be_the_greatest_of_another_metric(tmp_path: Path, image_file: Path) -> None:
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


def test_the_result_and_the_state_tell_the_whole_story(tmp_path: Path, image_file: Path) -> None:
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
        "result.json", "attempts.jsonl", "timings.json", "layout",
    }  # fmt: skip
    started, ended = history(run)
    assert (started["event"], started["attempt"], started["from_step"], started["world_size"]) == ("started", 0, 0, 1)
    assert (ended["event"], ended["attempt"], ended["state"], ended["step"]) == ("ended", 0, "finished", 12)
    timings = read_json(run.timings)
    assert {"boundary_s", "checkpoint_s", "checkpoint_share", "lead_s"} <= set(timings)
    assert 0 < timings["checkpoint_s"] < timings["lead_s"] and 0 < timings["checkpoint_share"] < 1


@pytest.mark.parametrize(
    ("sizes", "splits"),
    [
        ({"train": 48, "test": 11}, {"test"}),
        ({"train": 48, "val": 13}, {"val"}),
        ({"train": 48}, set()),
        ({"train": 48, "val": 1, "test": 1}, {"val", "test"}),
    ],
    ids=["no-val", "no-test", "train-only", "one-sample"],
)
def test_a_file_without_some_splits(tmp_path: Path, sizes: dict[str, int], splits: set[str]) -> None:
    run = trained(tmp_path, experiments.classification_file(tmp_path, sizes), trainer={"max_epochs": 2})
    result = read_json(run.result)
    wanted = {"train/loss"} | {f"{split}/{name}" for split in splits for name in METRICS}
    assert set(result["metrics"]) == wanted
    assert all(math.isfinite(value) for value in result["metrics"].values())
    if "val" not in splits:  # nothing tells which is the best: the last one
        assert torch.load(run.best_checkpoint, weights_only=True)["global_step"] == 12


def test_values_are_learned_too(tmp_path: Path) -> None:
    run = trained(tmp_path, experiments.regression_file(tmp_path), model={"name": "linear"}, trainer={"max_epochs": 20})
    metrics = read_json(run.result)["metrics"]
    assert set(metrics) == {"train/loss"} | {
        f"{split}/{name}" for split in ("val", "test") for name in ("loss", "mse", "mae", "r2")
    }
    assert metrics["test/r2"] > 0.95
    assert metrics["test/loss"] == pytest.approx(metrics["test/mse"], rel=1e-5)


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({"max_epochs": 2}, 12),
        ({"max_epochs": None, "max_steps": 3}, 3),
        ({"max_epochs": None, "max_steps": 8}, 8),
        ({"max_epochs": 1, "max_steps": 20}, 6),
        ({"max_epochs": 3, "max_steps": 7}, 7),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 4),
        ({"max_epochs": 2, "accumulate_grad_batches": 6}, 2),
        ({"max_epochs": 1, "accumulate_grad_batches": 100}, 1),
        ({"max_epochs": 2, "limit_train_batches": 2}, 4),
        ({"max_epochs": 2, "limit_train_batches": 1}, 2),
        ({"max_epochs": 1, "limit_train_batches": 0.6}, 3),
        ({"max_epochs": 1, "limit_train_batches": 1.0}, 6),
        ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 6),
        ({"max_epochs": 1, "limit_train_batches": 100}, 6),
    ],
)
def test_the_schedule_is_told_exactly_the_steps_that_are_made(
    tmp_path: Path, image_file: Path, trainer: dict[str, Any], steps: int
) -> None:
    run = trained(tmp_path, image_file, trainer=trainer, schedule={"name": "cosine"})
    experiment = Experiment.from_dict(yaml.load(run.config))
    assert torch.load(run.last_checkpoint, weights_only=True)["global_step"] == steps
    assert read_json(run.result)["steps"] == steps == total_steps(experiment, open_spec(experiment.data))
    # The rate after the last step is that of the schedule's end: neither above zero nor reached
    # early.
    rates = [row["train/lr"] for row in read_journal(run.journal) if "train/lr" in row]
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(rate > 0 for rate in rates[:-1])
    assert torch.load(run.best_checkpoint, weights_only=True)["global_step"] <= steps


@pytest.mark.parametrize(
    ("trainer", "validations"),
    [
        ({"max_epochs": 2}, [6, 12]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [12]),
        ({"max_epochs": 1, "val_check_interval": 2}, [2, 4, 6]),
        ({"max_epochs": 1, "val_check_interval": 0.5}, [3, 6]),
        ({"max_epochs": 1, "limit_val_batches": 0}, []),
        ({"max_epochs": None, "max_steps": 3}, []),
        ({"max_epochs": 1, "num_sanity_val_steps": 2}, [6]),
    ],
)
def test_when_it_is_validated(
    tmp_path: Path, image_file: Path, trainer: dict[str, Any], validations: list[int]
) -> None:
    run = trained(tmp_path, image_file, trainer=trainer)
    assert [row["step"] for row in read_journal(run.journal) if "val/loss" in row] == validations
    assert ("val/loss" in read_json(run.result)["metrics"]) == bool(validations)
    assert "test/accuracy" in read_json(run.result)["metrics"]


def test_a_failing_training_says_why_and_raises(
    tmp_path: Path, image_file: Path, own_module: Callable[[str], str]
) -> None:
    net = own_module(
        "    def training_step(self, batch, batch_idx):\n"
        "        if self.global_step == 3:\n"
        "            raise RuntimeError('the magnets\\n  quenched')\n"
        "        return self.loss(batch)\n"
    )
    run = experiments.prepared(tmp_path, experiments.raw(image_file, model={"class": net}))
    with pytest.raises(RuntimeError, match="the magnets"):
        train(run)
    state = read_state(run)
    assert state["state"] == "failed"
    assert state["reason"] == "RuntimeError: the magnets quenched"
    assert (state["rank"], state["attempt"], state["log"]) == (0, 0, str(run.log(0)))
    assert read_json(run.result) is None
    assert [row["step"] for row in read_journal(run.journal)] == [1, 2, 3], "what was learned until then is on record"


def test_a_mistake_that_only_shows_in_the_job_is_told_in_its_own_words(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    run = experiments.prepared(tmp_path, experiments.raw(file))
    file.unlink()
    with pytest.raises(Exception, match="there is no such file"):
        train(run)
    assert read_state(run)["reason"].startswith(f"{file}: there is no such file.")


def test_a_training_that_diverges_leaves_files_that_can_be_read(tmp_path: Path, image_file: Path) -> None:
    run = trained(tmp_path, image_file, optimizer={"name": "sgd", "lr": 1e30}, trainer={"max_epochs": 2})

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    metrics = json.loads(run.result.read_text(), parse_constant=refuse)["metrics"]
    assert metrics["val/loss"] == metrics["test/loss"] == "nan"
    assert math.isnan(read_journal(run.journal)[-1]["val/loss"])


def test_a_users_own_module_is_trained_tested_and_kept(
    tmp_path: Path, image_file: Path, own_module: Callable[[str], str]
) -> None:
    net = own_module(
        "    def training_step(self, batch, batch_idx):\n        return {'loss': self.loss(batch)}\n"
        "    def validation_step(self, batch, batch_idx):\n        self.log('val/loss', self.loss(batch))\n"
        "    def test_step(self, batch, batch_idx):\n        self.log('test/mine', 2.0)\n"
    )
    run = trained(tmp_path, image_file, model={"class": net}, trainer={"max_epochs": 3})
    metrics = read_json(run.result)["metrics"]
    assert {"train/loss", "val/loss", "test/mine"} <= set(metrics)
    assert metrics["test/mine"] == 2
    assert metrics["val/loss"] < 1.1
    assert (run.code / f"{net.partition('.')[0]}.py").is_file()


def test_a_users_own_module_with_nothing_but_a_training_step(
    tmp_path: Path, image_file: Path, own_module: Callable[[str], str]
) -> None:
    net = own_module("    def training_step(self, batch, batch_idx):\n        return self.loss(batch)\n")
    run = trained(tmp_path, image_file, model={"class": net})
    assert set(read_json(run.result)["metrics"]) == {"train/loss"}
    assert run.best_checkpoint.exists() and run.last_checkpoint.exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true", "bf16-true"])
def test_precisions(tmp_path: Path, image_file: Path, precision: str) -> None:
    run = trained(tmp_path, image_file, trainer={"precision": precision, "max_epochs": 2})
    kept = weights(run.best_checkpoint)["hidden.0.weight"].dtype
    assert kept == {"64-true": torch.float64, "bf16-true": torch.bfloat16}.get(precision, torch.float32)
    assert read_json(run.result)["metrics"]["val/loss"] < 1.2


def test_the_journal_of_each_attempt_is_a_file_of_its_own(tmp_path: Path, image_file: Path) -> None:
    run = trained(tmp_path, image_file)
    train(run)
    assert [path.name for path in sorted(run.journal.iterdir())] == ["attempt-000.jsonl", "attempt-001.jsonl"]
    assert read_state(run)["attempt"] == 1
    assert read_json(run.result)["steps"] == 6


def test_a_monitor_that_a_users_own_module_does_not_log(
    tmp_path: Path, image_file: Path, own_module: Callable[[str], str]
) -> None:
    net = own_module(
        "    def training_step(self, batch, batch_idx):\n        return self.loss(batch)\n\n"
        "    def validation_step(self, batch, batch_idx):\n        self.log('val_loss', self.loss(batch))\n"
    )
    with pytest.raises(ConfigError, match=r"checkpoint\.monitor: was not logged .*; allowed: train/loss, val_loss\)"):
        trained(tmp_path, image_file, model={"class": net})
