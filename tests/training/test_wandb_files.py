"""A run that reports to W&B leaves its files in its own folder and nowhere else."""

import os
import tempfile
from pathlib import Path

import pytest

from hpc_dl.training.train import train
from tests import experiments


def test_offline_wandb_stays_in_the_run_folder(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = {name: tmp_path / name for name in ("home", "cwd", "tmp", "xdg")}
    for folder in outside.values():
        folder.mkdir()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(outside["home"]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(outside["xdg"]))
    monkeypatch.setenv("TMPDIR", str(outside["tmp"]))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(outside["cwd"])
    environment = dict(os.environ)
    run = experiments.prepared(tmp_path, experiments.raw(image_file, wandb={"mode": "offline"}))
    train(run)
    left = [path for folder in outside.values() for path in folder.rglob("*") if path.is_file()]
    assert left == []
    assert list((run.path / "wandb").rglob("offline-run-*/*.wandb")), "nothing was recorded at all"
    ours = {name: value for name, value in os.environ.items() if name.startswith("WANDB")}
    assert ours == {name: value for name, value in environment.items() if name.startswith("WANDB")}
    assert "W&B: recording offline; wandb.mode is offline" in run.log(0).read_text()
