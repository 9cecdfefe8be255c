"""Training of users' own LightningModules (in tests/training/modules)."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.cluster.resume import apply_changes
from hpc_dl.config import yaml
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.onnx_export import export
from hpc_dl.inference.prediction import predict
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.train import train
from tests import experiments
from tests.training import modules


@pytest.fixture(autouse=True)
def user_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    modules.enter(monkeypatch)


def prepared(folder: Path, file: Path, class_path: str, max_epochs: int = 1, **sections: Any) -> RunFolder:
    content = experiments.raw(file, model={"class": class_path}, trainer={"max_epochs": max_epochs}, **sections)
    del content["optimizer"]
    return experiments.prepared(folder, content)


@pytest.mark.slow
def test_all_splits_are_evaluated(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "logs_all_splits.Net", max_epochs=3)
    train(run)
    metrics = read_json(run.result)["metrics"]
    assert {"train/loss", "val/loss", "test/constant"} <= set(metrics)
    assert metrics["test/constant"] == 2
    assert metrics["val/loss"] < 1.1
    assert (run.code / "logs_all_splits.py").is_file()


@pytest.mark.slow
def test_training_step_is_enough(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "training_step_only.Net")
    train(run)
    assert set(read_json(run.result)["metrics"]) == {"train/loss"}
    assert run.best_checkpoint.exists() and run.last_checkpoint.exists()


@pytest.mark.slow
def test_inference_needs_more_than_a_training_step(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "training_step_only.Net")
    train(run)
    trained = TrainedModel.load(TrainedRun.open(run))
    with pytest.raises(RunError, match=f"^{run.name}: cannot be evaluated, since Net has no test_step"):
        evaluate(trained, "test")
    with pytest.raises(RunError, match=r"Net cannot compute outputs from inputs alone\. .*define predict_step"):
        predict(trained, image_file, tmp_path / "predictions.h5")
    with pytest.raises(RunError, match=r"Net cannot compute outputs from inputs alone\. Train its network with"):
        export(trained, tmp_path / "model.onnx")


@pytest.mark.slow
def test_predictions_of_a_predict_step(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "predicts.Net")
    train(run)
    trained = TrainedModel.load(TrainedRun.open(run))
    assert predict(trained, image_file, tmp_path / "out.h5")["samples"]["test"] == 11
    with h5py.File(tmp_path / "out.h5") as out:
        predicted = out["test/predictions"][:]
        assert sorted(out["test"]) == ["predictions"]
    loader = trained.batches.test_dataloader()
    x, _ = next(iter(loader))
    x = trained.batches.preprocessed((x,))[0].flatten(1)
    expected = torch.stack([x.sum(1), trained.model.layer(x).argmax(1)], 1)
    np.testing.assert_allclose(predicted[: len(x)], expected.detach(), rtol=1e-4, atol=1e-3)
    with pytest.raises(ConfigError, match="cannot be a table, since predict_step may return"):
        predict(trained, image_file, tmp_path / "out.csv")
    for returns, message in (
        ("nothing", "returns a NoneType for"),
        ("error", r"fails: ValueError: the magnets .*line"),
    ):
        trained.model.returns = returns
        with pytest.raises(RunError, match=f"its predict_step {message}"):
            predict(trained, image_file, tmp_path / f"{returns}.h5")
        assert not (tmp_path / f"{returns}.h5").exists()


def test_failure_is_recorded(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "raises_at_step_3.Net")
    with pytest.raises(RuntimeError, match="the magnets"):
        train(run)
    state = read_state(run)
    assert state["state"] == "failed"
    reason, _, where = state["reason"].partition(", in ")
    assert reason == "RuntimeError: the magnets quenched"
    assert re.fullmatch(r".*/raises_at_step_3\.py line \d+: `raise RuntimeError\(.*\)`", where)
    assert (state["rank"], state["attempt"], state["log"]) == (0, 0, str(run.log(0)))
    assert read_json(run.result) is None
    assert [row["step"] for row in read_journal(run.journal)] == [1, 2, 3], "the steps before the failure are recorded"


def test_step_without_a_loss_is_remarked(tmp_path: Path, image_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(prepared(tmp_path, image_file, "fails_in_steps.NoLoss", max_epochs=2))
    remark = r"NoLoss\.training_step returns no loss, which trains nothing, in .*/fails_in_steps\.py line \d+: "
    assert len(re.findall(remark, capfd.readouterr().err)) == 1


def test_metric_that_is_not_finite_in_validation_is_remarked(
    tmp_path: Path, image_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(prepared(tmp_path, image_file, "fails_in_steps.NanInValidation", max_epochs=2))
    said = capfd.readouterr().err
    assert said.count("val_loss is nan at step") == 1, (
        "the weights of such a step count as the best only without others"
    )
    assert said.count("val_perplexity is inf in the validation at step") == 1


def test_missing_monitor_is_reported(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "logs_val_loss_with_underscore.Net", checkpoint={"monitor": "val/loss"})
    with pytest.raises(
        ConfigError, match=r"checkpoint\.monitor: was not logged .*; allowed: auto, train/loss, val_loss\)"
    ):
        train(run)


@pytest.mark.slow
def test_monitor_may_change_until_there_are_best_weights(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, "logs_val_loss_with_underscore.Net", checkpoint={"monitor": "val/loss"})
    with pytest.raises(ConfigError, match="was not logged"):
        train(run)
    changed = apply_changes(run, ["checkpoint.monitor=val_loss"])
    run.config.write_text(yaml.dumps(changed.to_dict()))
    train(run)
    assert "val_loss" in read_json(run.result)["metrics"]
    with pytest.raises(ConfigError, match=r"^checkpoint\.monitor: cannot change within a run"):
        apply_changes(run, ["checkpoint.monitor=auto"])
