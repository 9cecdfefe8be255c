"""Preflight checks; most faults are in the table of tests/config/test_bad_configs.py."""

from pathlib import Path

import h5py
import pytest
import torch

from hpc_dl import models
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import ConfigError
from hpc_dl.training.model_building import build_model
from hpc_dl.training.preflight import preflight
from tests import experiments
from tests.training import modules


@pytest.mark.parametrize("name", models.names())
def test_parameters_are_counted_without_changing_the_random_state(image_file: Path, name: str) -> None:
    section = models.config_class(name)
    experiment = Experiment.from_dict(experiments.raw(image_file, model={"name": name, **section.small}))
    data = open_spec(experiment.data)
    if "image" not in section.inputs or "classification" not in section.tasks:
        with pytest.raises(ConfigError, match=r"model\.name: "):
            preflight(experiment, data)
        return
    before = torch.random.get_rng_state()
    num_parameters = preflight(experiment, data)
    assert torch.equal(torch.random.get_rng_state(), before), "random numbers were drawn"
    assert num_parameters == sum(parameter.numel() for parameter in build_model(experiment, data).parameters())


def test_network_may_exceed_the_memory(image_file: Path) -> None:
    experiment = Experiment.from_dict(experiments.raw(image_file, model={"name": "mlp", "width": 2_000_000}))
    assert preflight(experiment, open_spec(experiment.data)) > 4e12


def test_user_module_may_monitor_any_name(image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules.enter(monkeypatch)
    model = {"class": "training_step_only.Net"}
    content = experiments.raw(image_file, model=model, checkpoint={"monitor": "mine", "mode": "max"})
    experiment = Experiment.from_dict(content)
    assert preflight(experiment, open_spec(experiment.data)) == 64 * 3 + 3
    del content["checkpoint"]["mode"]
    with pytest.raises(ConfigError, match=r"checkpoint.mode: the name mine does not say whether a lower or a higher"):
        preflight(Experiment.from_dict(content), open_spec(experiment.data))


def test_nan_in_a_small_file_needs_imputation(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    with h5py.File(file, "r+") as opened:
        opened["train/inputs"][3, 1] = float("nan")
    raw = experiments.raw(file, model={"name": "linear"})
    experiment = Experiment.from_dict(raw)
    with pytest.raises(ConfigError, match=r"inputs contain NaN .*data.imputation: mean"):
        preflight(experiment, open_spec(experiment.data))
    imputed = Experiment.from_dict(raw | {"data": raw["data"] | {"imputation": "mean"}})
    assert preflight(imputed, open_spec(imputed.data)) == 5 + 1


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    content = experiments.raw(
        file, model={"name": "cnn"}, data={"batch_size": 100}, checkpoint={"monitor": "val/accuracy"}
    )
    experiment = Experiment.from_dict(content)
    with pytest.raises(ConfigError) as caught:
        preflight(experiment, open_spec(experiment.data))
    assert [fault.where for fault in caught.value.faults] == ["data.batch_size", "checkpoint.monitor", "model.name"]
    assert caught.value.faults[1].allowed == "val/loss, val/mae, val/mse, val/r2"


@pytest.mark.parametrize("task", ["regression", "reconstruction"])
def test_class_weights_need_classes(tmp_path: Path, task: str) -> None:
    file = experiments.regression_file(tmp_path)
    model = {"name": "autoencoder" if task == "reconstruction" else "mlp"}
    content = experiments.raw(file, model=model, data={"task": task}, loss={"class_weights": "balanced"})
    experiment = Experiment.from_dict(content)
    with pytest.raises(ConfigError, match=r"loss\.class_weights: "):
        preflight(experiment, open_spec(experiment.data))
