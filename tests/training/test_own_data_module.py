"""A user's own LightningDataModule: ``data: {class: package.Class, args: {…}}``."""

import signal
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.prepare import check
from hpc_dl.cluster.resume import apply_changes
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.training.attempts import Stop, finish

pytestmark = pytest.mark.usefixtures("user_modules")

NOISE = {"class": "torch.nn.Dropout", "args": {"p": 0.2}}


def content(name: str = "Data", **sections: Any) -> dict[str, Any]:
    model = sections.pop("model", {"class": "own_data_module.Net"})
    raw = experiments.raw(Path(), model=model, trainer={"max_epochs": 2}, **sections)
    del raw["optimizer"]
    return raw | {"data": {"class": f"own_data_module.{name}", "args": sections.get("args", {})}}


def prepared(folder: Path, **args: Any) -> RunFolder:
    raw = content()
    raw["data"]["args"] = {"size": 32, "noise": NOISE, **args}
    return experiments.prepared(folder, raw)


@pytest.mark.slow
def test_data_module_trains_resumes_exactly_and_is_evaluated(tmp_path: Path) -> None:
    whole = finish(prepared(tmp_path / "whole"))
    metrics = read_json(whole.result)["metrics"]
    assert read_json(whole.result)["steps"] == 8, "32 samples, 8 in a batch, 2 epochs"
    assert {"train/loss", "val_loss", "test_loss"} <= set(metrics)
    assert yaml.load(whole.config)["data"] == {"class": "own_data_module.Data", "args": {"size": 32, "noise": NOISE}}
    assert (whole.code / "own_data_module.py").is_file()
    stopped = finish(prepared(tmp_path / "stopped"), Stop(3, numbers=(signal.SIGUSR2,)))
    assert differences(stopped, whole) == []
    trained = TrainedRun.open(whole)
    tested = evaluate(TrainedModel.load(trained), "test")["metrics"]
    assert tested.keys() == {"loss"}
    assert evaluate(TrainedModel.load(trained), "val")["metrics"]["loss"] != tested["loss"]
    assert apply_changes(whole, ["trainer.max_epochs=3"]).trainer.max_epochs == 3
    with pytest.raises(ConfigError, match=r"^resources: changes the number of ranks"):
        apply_changes(whole, ["resources.nodes=2"])


def test_data_module_is_tried_before_the_job() -> None:
    check(Experiment.from_dict(content()), data_dir=None, say=pytest.fail, try_batches=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"class": "own_data_module.OnlyTests"}}, r"^data\.class: has no train_dataloader"),
        ({"data": {"class": "own_data_module.Net"}}, r"^data\.class: is not a LightningDataModule of pytorch"),
        ({"data": {"class": "own_data_module.Data", "args": {"sizes": 3}}},
         r"^data\.args: do not fit own_data_module\.Data: .*'sizes'.*allowed: size, noise"),
        ({"data": {"class": "own_data_module.Data", "batch_size": 8}},
         r"^data: `batch_size`: not used with a data module of your own; give it values with `args`"),
        ({"data": {"class": "data"}}, r"^data\.class: must be an import path"),
        ({"model": {"name": "mlp"}}, r"^data\.class: needs a LightningModule"),
    ],
)  # fmt: skip
def test_unsuitable_data_module_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(Experiment.from_dict(content() | changes), data_dir=None, say=pytest.fail)


def test_loaders_that_lose_to_the_data_module_are_reported() -> None:
    said: list[str] = []
    raw = content(model={"class": "own_loaders.Net"})
    check(Experiment.from_dict(raw), data_dir=None, say=said.append)
    assert len(said) == 1 and said[0].startswith("Net also defines train_dataloader and val_dataloader: not used")
