"""Users' modules that take part in loading their weights: training, resuming, evaluation."""

import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.errors import RunError
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.training.attempts import Stop, finish

pytestmark = pytest.mark.usefixtures("user_modules")


def prepared(folder: Path, file: Path, name: str, **trainer: Any) -> RunFolder:
    model = {"class": f"restores_itself.{name}"}
    content = experiments.raw(file, model=model, trainer={"max_epochs": 2, **trainer})
    del content["optimizer"]
    return experiments.prepared(folder, content)


def evaluated(run: RunFolder) -> dict[str, Any]:
    result: dict[str, Any] = evaluate(TrainedModel.load(TrainedRun.open(run)), "test")
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LayersOfSetup", "LayersOfConfigureModel", "WithoutTeacher", "SavesObjects"])
def test_interrupted_module_resumes_and_is_evaluated(tmp_path: Path, image_file: Path, name: str) -> None:
    run = finish(prepared(tmp_path, image_file, name), Stop(1, numbers=(signal.SIGUSR2,)))
    metrics = read_json(run.result)["metrics"]
    assert evaluated(run)["metrics"] == {"weight": pytest.approx(metrics["test_weight"])}
    weights = torch.load(run.best_checkpoint, weights_only=False)["state_dict"]
    assert metrics["test_weight"] == pytest.approx(float(weights["layer.weight"].sum()), rel=1e-4)


@pytest.mark.slow
def test_failing_test_names_the_statement(tmp_path: Path, image_file: Path) -> None:
    run = finish(prepared(tmp_path, image_file, "FailsInItsTest", limit_test_batches=0))
    with pytest.raises(RunError, match=r"its test fails: ZeroDivisionError: .*/restores_itself\.py line \d+: `self"):
        evaluated(run)


@pytest.mark.slow
def test_other_objects_are_refused(tmp_path: Path, image_file: Path) -> None:
    run = finish(prepared(tmp_path, image_file, "Tested"))
    trained = TrainedRun.open(run)
    content = torch.load(trained.checkpoint.path, weights_only=False)
    torch.save(content | {"path": tmp_path}, trained.checkpoint.path)
    with pytest.raises(RunError, match=r"cannot be read as weights: it contains pathlib"):
        TrainedModel.load(trained)


class StartsProcess:
    def __init__(self, *command: str) -> None:
        self.command = list(command)

    def __reduce__(self) -> Any:
        return subprocess.Popen, (self.command,)


@pytest.mark.slow
def test_what_a_module_imports_is_not_its_own(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(prepared(tmp_path, image_file, "Tested"))
    monkeypatch.setattr(sys.modules["restores_itself"], "subprocess", subprocess, raising=False)
    trained = TrainedRun.open(run)
    path, draft = trained.checkpoint.path, tmp_path / "draft"
    torch.save(torch.load(path, weights_only=False) | {"extra": StartsProcess("touch", str(tmp_path / "ran"))}, draft)
    with zipfile.ZipFile(draft) as source, zipfile.ZipFile(path, "w") as crafted:
        for name in source.namelist():
            content = source.read(name)  # Python 2 had Popen in `commands`, and pickles say so
            crafted.writestr(name, content.replace(b"ccommands\nPopen", b"crestores_itself.subprocess\nPopen"))
    with pytest.raises(RunError, match=r"cannot be read as weights: it contains restores_itself\.subprocess\.Popen"):
        TrainedModel.load(trained)
    assert not (tmp_path / "ran").exists()
