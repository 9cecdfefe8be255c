"""What is checked before a job waits; the faults are in the table of
tests/config/test_bad_configs.py."""

from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from hpc_dl import models
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import ConfigError
from hpc_dl.training.preflight import batches_per_epoch, build_model, preflight, total_steps
from tests import experiments
from tests.experiments import spec


@pytest.mark.parametrize("name", models.names())
def test_it_counts_the_parameters_without_making_them(image_file: Path, name: str) -> None:
    section = models.config_class(name)
    experiment = Experiment.from_dict(experiments.raw(image_file, model={"name": name, **section.small}))
    data = open_spec(experiment.data)
    if "image" not in section.inputs or "classification" not in section.tasks:
        with pytest.raises(ConfigError, match=r"model\.name: "):
            preflight(experiment, data)
        return
    before = torch.random.get_rng_state()
    found = preflight(experiment, data)
    assert torch.equal(torch.random.get_rng_state(), before), "it drew random numbers"
    assert found == sum(parameter.numel() for parameter in build_model(experiment, data).parameters())


def test_a_network_larger_than_the_memory_is_no_problem(image_file: Path) -> None:
    experiment = Experiment.from_dict(experiments.raw(image_file, model={"name": "mlp", "width": 2_000_000}))
    assert preflight(experiment, open_spec(experiment.data)) > 4e12


@pytest.mark.parametrize(
    ("sections", "batches", "steps"),
    [
        ({"data": {"batch_size": 10}}, 10, 20),
        ({"data": {"batch_size": 33}}, 3, 6),
        ({"data": {"batch_size": 10}, "resources": {"nodes": 2, "gpus_per_node": 2}}, 2, 4),
        ({"data": {"batch_size": None, "global_batch_size": 20}, "resources": {"gpus_per_node": 2}}, 5, 10),
        ({"data": {"batch_size": 10}, "trainer": {"accumulate_grad_batches": 3}}, 10, 8),
        ({"data": {"batch_size": 10}, "trainer": {"max_steps": 7}}, 10, 7),
        ({"data": {"batch_size": 10}, "trainer": {"max_epochs": None, "max_steps": 70}}, 10, 70),
        ({"data": {"batch_size": 10}, "trainer": {"limit_train_batches": 0.25}}, 2, 4),
    ],
)
def test_steps_of_an_epoch_and_of_the_training(sections: dict[str, Any], batches: int, steps: int) -> None:
    sections["trainer"] = {"max_epochs": 2, **sections.get("trainer", {})}
    experiment = Experiment.from_dict(experiments.raw(Path("/data/paper.h5"), **sections))
    data = spec(train=105, val=10)
    assert (batches_per_epoch(experiment, data), total_steps(experiment, data)) == (batches, steps)


def test_a_users_own_module_is_built_for_real_and_may_monitor_what_it_likes(image_file: Path, own_module: Any) -> None:
    net = own_module("    def on_fit_start(self):\n        pass\n")
    content = experiments.raw(image_file, model={"class": net}, checkpoint={"monitor": "mine", "mode": "max"})
    experiment = Experiment.from_dict(content)
    assert preflight(experiment, open_spec(experiment.data)) == 64 * 3 + 3
    del content["checkpoint"]["mode"]
    with pytest.raises(
        ConfigError, match=r"checkpoint.mode: whether less or more of mine is better, its name does not"
    ):
        preflight(Experiment.from_dict(content), open_spec(experiment.data))


def test_a_small_file_without_imputation_is_looked_through_for_nan(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    with h5py.File(file, "r+") as opened:
        opened["train/inputs"][3, 1] = float("nan")
    raw = experiments.raw(file, model={"name": "linear"})
    experiment = Experiment.from_dict(raw)
    with pytest.raises(ConfigError, match=r"inputs hold NaN .*data.imputation: mean"):
        preflight(experiment, open_spec(experiment.data))
    filled = Experiment.from_dict(raw | {"data": raw["data"] | {"imputation": "mean"}})
    assert preflight(filled, open_spec(filled.data)) > 0


def test_a_loss_and_an_architecture_that_do_not_fit_are_told_with_the_rest(tmp_path: Path) -> None:
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
def test_values_cannot_be_weighted_by_class(tmp_path: Path, task: str) -> None:
    file = experiments.regression_file(tmp_path)
    model = {"name": "autoencoder" if task == "reconstruction" else "mlp"}
    content = experiments.raw(file, model=model, data={"task": task}, loss={"class_weights": "balanced"})
    experiment = Experiment.from_dict(content)
    with pytest.raises(ConfigError, match=r"loss\.class_weights: "):
        preflight(experiment, open_spec(experiment.data))
