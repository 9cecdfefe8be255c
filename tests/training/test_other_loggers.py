"""Modules written for other loggers train unchanged, and what they log is recorded."""

import json
import os
from pathlib import Path

import pytest
import torch

from hpc_dl.cli.evaluate import loaded_model
from hpc_dl.cluster.prepare import check
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.wandb_rows import LOGGED
from hpc_dl.training.train import train
from tests import experiments

pytestmark = pytest.mark.usefixtures("user_modules")


def trained(tmp_path: Path, image_file: Path) -> RunFolder:
    run = experiments.prepared(tmp_path, experiments.raw(image_file, model={"class": "logs_elsewhere.Net"}))
    train(run)
    return run


def test_calls_of_other_loggers_are_recorded(
    tmp_path: Path, image_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path, image_file)
    rows = read_journal(run.journal)
    steps = [row for row in rows if "by_tensorboard" in row]
    assert steps
    assert all(row["by_tensorboard"] == pytest.approx(row["by_logger"]) for row in steps)
    assert {"logged/epoch", "logged/step", "after"} <= {name for row in rows for name in row}
    media = (run.path / LOGGED / "attempt-000.jsonl").read_text()
    assert '"image"' in media and '"table"' in media
    settings = (run.path / LOGGED / "settings.jsonl").read_text().splitlines()
    assert {"config": {"own_setting": 3}} in [json.loads(line) for line in settings]
    said = capfd.readouterr()
    assert (said.out + said.err).count("of wandb.log is not used") == 1
    assert (said.out + said.err).count("val_loss is nan at step") == 1


@pytest.mark.slow
def test_wandb_may_be_started_in_init(tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    content = experiments.raw(image_file, model={"class": "inits_wandb.Net"})
    del content["optimizer"]
    check(Experiment.from_dict(content), data_dir=None, say=pytest.fail, try_batches=True)
    run = experiments.prepared(tmp_path, content)
    train(run)
    rows = [row for row in read_journal(run.journal) if "by_run" in row]
    assert rows and all(row["by_run"] == row["by_wandb"] for row in rows)
    with loaded_model(TrainedRun.open(run)) as trained:  # as `hpc-dl evaluate` does
        metrics = evaluate(trained, "test")["metrics"]
    assert metrics == {"loss": pytest.approx(read_json(run.result)["metrics"]["test_loss"])}
    assert "WANDB_MODE" not in os.environ
    assert not [row for row in read_journal(run.journal) if "by_test" in row and row["step"] == 0]


def test_best_weights_leave_out_saved_objects(tmp_path: Path, image_file: Path) -> None:
    run = trained(tmp_path, image_file)
    content = torch.load(run.checkpoints / "best.ckpt", weights_only=True)
    assert content["hyper_parameters"] == {"width": 3}


def test_call_that_no_run_has_is_found_by_the_trial(image_file: Path) -> None:
    content = experiments.raw(image_file, model={"class": "logs_elsewhere.Unknown"})
    content.pop("optimizer", None)
    with pytest.raises(ConfigError, match=r"has no add_nothing: .* log numbers with self\.log.* line \d+"):
        check(Experiment.from_dict(content), data_dir=None, say=lambda _: None, try_batches=True)
