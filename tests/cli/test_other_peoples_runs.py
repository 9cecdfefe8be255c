"""Run folders that others made: no command that only reads runs code from one."""

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpc_dl.cli.output import LOADING
from hpc_dl.config import yaml
from hpc_dl.errors import RunError
from hpc_dl.runs import trust
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from tests.cli.conftest import HpcDl
from tests.cli.test_damaged_runs import finished_run

_SOMEONE = 12345


class Payload:
    """An object whose loading creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def as_someone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All present files belong to somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: _SOMEONE)
    monkeypatch.setattr(trust, "_ROOT", -1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with weights, trained for one epoch."""
    from hpc_dl.training.train import train
    from tests import experiments

    folder = tmp_path_factory.mktemp("trained")
    file = experiments.classification_file(folder, {"train": 24, "val": 8, "test": 8})
    run = experiments.prepared(folder, experiments.raw(file, trainer={"max_epochs": 1}))
    train(run)
    return run


@pytest.mark.parametrize("kind", ["zip", "old pickle", "pickle alone"])
@pytest.mark.parametrize(
    "command", [["evaluate"], ["predict", "{file}", "--out", "p.h5"], ["export", "--out", "m.onnx"]]
)
def test_crafted_checkpoint_runs_no_code(
    hpc_dl: HpcDl, trained: RunFolder, tmp_path: Path, command: list[str], kind: str
) -> None:
    run = RunFolder(tmp_path / "crafted")
    shutil.copytree(trained.path, run.path, symlinks=True)
    (best,) = listed(run.checkpoints, "best")
    best.checksum_file.unlink()
    content = torch.load(best.path, weights_only=True)
    content["extra"] = Payload(tmp_path / "code ran")
    if kind == "pickle alone":
        best.path.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, best.path, _use_new_zipfile_serialization=kind == "zip")
    if kind != "zip":  # with a checksum, it counts as intact
        from hpc_dl.runs.checkpoints import _sha256, _write_checksum

        _write_checksum(best, _sha256(best.path))
    name, *options = [part.replace("{file}", str(trained.path.parent.parent / "classes.h5")) for part in command]
    answer = hpc_dl(name, run.path, *options)
    assert answer.status == 2, answer.err
    assert "cannot be read as weights" in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "code ran").exists()


def test_weights_of_another_model_are_one_line(hpc_dl: HpcDl, trained: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "crafted")
    shutil.copytree(trained.path, run.path, symlinks=True)
    config = yaml.load(run.config)
    config["model"]["width"] = 3
    run.config.write_text(yaml.dumps(config))
    answer = hpc_dl("evaluate", run.path)
    assert answer.status == 2 and "does not fit the model" in answer.err
    assert answer.err.removeprefix(f"{LOADING}\n").count("\n") == 1


@pytest.mark.usefixtures("as_someone")
def test_resume_of_another_users_run_needs_agreement(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(Path("runs"), "x")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    answer = hpc_dl("resume", run.path, "--here")
    assert answer.status == 2
    assert "resuming it runs its code" in answer.err and "add --yes" in answer.err
    agreed = hpc_dl("resume", run.path, "--here", "--yes")
    assert "add --yes" not in agreed.err  # it goes on, to the next fault


@pytest.mark.usefixtures("as_someone")
@pytest.mark.parametrize(
    "model", [{"class": "os.System"}, {"network": "x.Y"}, {"name": "custom", "args": {"inner": [{"class": "a.b.C"}]}}]
)
def test_evaluation_of_another_users_module_needs_agreement(hpc_dl: HpcDl, model: dict[str, object]) -> None:
    run = finished_run(Path("runs"), "x")
    run.config.write_text(yaml.dumps({"model": model}))
    answer = hpc_dl("evaluate", run.path)
    assert answer.status == 2 and "its model is Python code" in answer.err and "add --yes" in answer.err


@pytest.mark.usefixtures("as_someone")
def test_reading_another_users_run_needs_no_agreement(hpc_dl: HpcDl) -> None:
    run = finished_run(Path("runs"), "x")
    for command in ("status", "results", "logs"):
        assert hpc_dl(command, run.path).status == 0


@pytest.mark.parametrize(
    "part", ["", "config.yaml", "site.yaml", "code/x.py", "code/package/y.py", "checkpoints/a.ckpt"]
)
def test_every_file_with_code_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str) -> None:
    run = finished_run(tmp_path, "x")
    path = run.path / part
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert trust.foreign_owner(run) == ""
    original = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        status = original(self, **options)
        return os.stat_result((*status[:4], _SOMEONE, *status[5:])) if self == path else status

    monkeypatch.setattr(Path, "stat", stat)
    assert trust.foreign_owner(run) == f"user {_SOMEONE}"
    with pytest.raises(RunError, match="belongs to"):
        trust.check_trusted(run, "it runs code", yes=False)
