"""``model.init_from`` and ``model.freeze``: starting from the weights of another run."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.errors import ConfigError, Stopped
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.train import train
from tests import experiments
from tests.training.attempts import Stop, attempt


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run."""
    folder = tmp_path_factory.mktemp("pretrained")
    run = experiments.prepared(folder, experiments.raw(experiments.classification_file(folder)))
    train(run)
    return run


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    return {name: value for name, value in content.items() if not name.startswith("evaluation")}


def fine_tuned(folder: Path, pretrained: RunFolder, **model: Any) -> RunFolder:
    file = experiments.classification_file(folder)
    section = {"name": "mlp", "width": 8, "depth": 1, "init_from": pretrained.name, **model}
    content = experiments.raw(file, model=section, optimizer={"name": "sgd", "lr": 1e-9})
    runs = pretrained.path.parent
    return experiments.prepared(runs.parent, content)


@pytest.mark.slow
def test_training_starts_from_the_best_weights(tmp_path: Path, pretrained: RunFolder) -> None:
    run = fine_tuned(tmp_path, pretrained)
    assert str(pretrained.best_checkpoint.resolve()) in run.config.read_text()
    train(run)
    before, after = weights_of(pretrained.best_checkpoint), weights_of(run.last_checkpoint)
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)
    assert f"Starting from {len(before)} of {len(before)} weights" in run.log(0).read_text()


@pytest.mark.slow
def test_head_of_another_shape_stays_fresh(tmp_path: Path, pretrained: RunFolder) -> None:
    file = experiments.regression_file(tmp_path)
    content = experiments.raw(file, model={"name": "mlp", "width": 8, "depth": 1, "init_from": str(pretrained.path)})
    run = experiments.prepared(tmp_path, content)
    train(run)
    assert "fresh: hidden.0.weight, head.weight, head.bias" in run.log(0).read_text()


@pytest.mark.slow
def test_frozen_weights_do_not_change(tmp_path: Path, pretrained: RunFolder) -> None:
    file = experiments.classification_file(tmp_path)
    section = {"name": "mlp", "width": 8, "depth": 1, "init_from": str(pretrained.path), "freeze": ["hidden"]}
    run = experiments.prepared(tmp_path, experiments.raw(file, model=section))
    train(run)
    before, after = weights_of(pretrained.best_checkpoint), weights_of(run.last_checkpoint)
    assert torch.equal(before["hidden.0.weight"], after["hidden.0.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


@pytest.mark.slow
def test_resumed_run_does_not_need_the_pretrained_file(tmp_path: Path, pretrained: RunFolder) -> None:
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes(pretrained.best_checkpoint.read_bytes())
    file = experiments.classification_file(tmp_path)
    section = {"name": "mlp", "width": 8, "depth": 1, "init_from": str(weights)}
    runs = []
    for _ in range(2):
        runs.append(experiments.prepared(tmp_path, experiments.raw(file, model=section)))
    uninterrupted, stopped = runs
    train(uninterrupted)
    assert attempt(stopped, Stop(3)) == Stopped.exit_status
    weights.unlink()
    assert attempt(stopped) == 0
    first, second = (weights_of(run.last_checkpoint) for run in runs)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"init_from": "nothing"}, r"model\.init_from: is neither a file nor a run .*got 'nothing'"),
        (
            {"freeze": ["features"]},
            r"model\.freeze: matches no part of the model \(got 'features'; allowed: hidden, head",
        ),
        ({"freeze": ["*"]}, r"model\.freeze: freezes every parameter"),
        ({"width": 9, "bias": False, "depth": 2}, r"model\.init_from: has no weight that matches this model"),
    ],
)
def test_mismatch_is_found_in_preflight(
    tmp_path: Path, pretrained: RunFolder, model: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fine_tuned(tmp_path, pretrained, **model)


def test_file_with_code_is_not_opened(tmp_path: Path, pretrained: RunFolder) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    file = tmp_path / "evil.ckpt"
    torch.save({"state_dict": Evil()}, file)
    with pytest.raises(ConfigError, match="contains more than plain weights"):
        fine_tuned(tmp_path, pretrained, init_from=str(file))
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match=r"model\.init_from: "):
        fine_tuned(tmp_path, pretrained, init_from=str(file))
    assert not (tmp_path / "touched").exists()
