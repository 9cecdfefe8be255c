"""W&B writes its files into the run folder and nowhere else."""

import os
import tempfile
from pathlib import Path

import pytest

from hpc_dl.training.train import train
from tests import experiments

pytestmark = pytest.mark.slow


def test_offline_files_stay_in_the_run_folder(
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
    stray = [path for folder in outside.values() for path in folder.rglob("*") if path.is_file()]
    assert stray == []
    assert list((run.path / "wandb").rglob("offline-run-*/*.wandb")), "nothing was recorded"
    after = {name: value for name, value in os.environ.items() if name.startswith("WANDB")}
    assert after == {name: value for name, value in environment.items() if name.startswith("WANDB")}
    assert "W&B: recording offline; wandb.mode is offline" in run.log(0).read_text()
