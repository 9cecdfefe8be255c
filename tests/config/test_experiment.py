"""Valid configurations: shipped files, round trips through YAML, and derived values."""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl import models
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.config import yaml
from hpc_dl.config.experiment import _PARSERS, Experiment
from hpc_dl.data import sources
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.schema import field_names

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL: dict[str, Any] = {"name": "minimal", "data": {"file": "x.h5"}, "model": {"name": "mlp"}}


def test_configs_are_shipped() -> None:
    assert {"cnn-digits", "mlp-fashion_mnist"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_config_matches_its_name_and_round_trips(path: Path) -> None:
    experiment = Experiment.load(path)
    model, _, source = path.stem.partition("-")
    assert path.suffix == ".yaml"
    assert model in models.names() and model == experiment.model.name
    assert source in sources.names() and source == experiment.data.source
    assert experiment.name == path.stem
    assert path.read_text().startswith("# "), "no comment on its purpose"
    assert Experiment.from_dict(yaml.loads(yaml.dumps(experiment.to_dict()), "text")) == experiment


def variants() -> list[Any]:
    choices = [({"model": {"name": name}}, f"model-{name}") for name in models.names()]
    choices += [({"optimizer": {"name": name}}, f"optimizer-{name}") for name in OPTIMIZERS]
    required = {"step": {"every": 3}}
    choices += [({"schedule": {"name": name, **required.get(name, {})}}, f"schedule-{name}") for name in SCHEDULES]
    choices += [
        ({"model": {"class": "package.module.Net", "args": {"a": [1, 2.0, "1"], "b": None}}}, "custom"),
        ({"data": {"file": "x.h5", "splits": {"fractions": {"train": 0.5, "val": 0.5, "test": 0}}}}, "fractions"),
        ({"data": {"file": "x.h5", "splits": {"groups": {"val": None}}}}, "groups"),
        ({"trainer": {"limit_train_batches": 1, "limit_val_batches": 1.0, "deterministic": "warn"}}, "trainer"),
        ({"resources": {"time": 30, "nodes": 2}}, "resources"),
        ({"metrics": ["accuracy", "top5"]}, "metrics"),
        ({"wandb": {"tags": ["no", "1e-3"], "group": "12:30:00"}}, "wandb"),
    ]
    return [pytest.param(raw, id=name) for raw, name in choices]


@pytest.mark.parametrize("sections", variants())
def test_config_round_trips_through_yaml(sections: dict[str, Any]) -> None:
    experiment = Experiment.from_dict({**MINIMAL, **sections})
    text = yaml.dumps(experiment.to_dict())
    again = Experiment.from_dict(yaml.loads(text, "text"))
    assert again == experiment
    # 1 and 1.0 are equal to Python, but not to Lightning: one batch, or all of them.
    assert repr(again) == repr(experiment)
    assert yaml.dumps(again.to_dict()) == text


def test_written_config_has_all_defaults() -> None:
    written = Experiment.from_dict(MINIMAL).to_dict()
    assert set(written) == set(_PARSERS)
    assert written["seed"] == 0
    assert written["optimizer"] == {
        "name": "adam", "lr": 1e-3, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "fused": "auto",
    }  # fmt: skip
    assert written["schedule"] == {"name": "constant", "warmup_steps": 0}
    assert written["model"] == {
        "name": "mlp", "depth": 2, "width": 256, "activation": "relu", "dropout": 0.0, "bias": True,
        "widths": None, "norm": "none", "init_from": None, "freeze": [],
        "init": {"weights": "auto", "std": 0.01, "bias": None},
    }  # fmt: skip
    assert written["trainer"]["precision"] == "32-true"
    assert written["checkpoint"] == {"every": "auto", "monitor": "auto", "mode": "auto"}


def test_custom_model_round_trips() -> None:
    raw = {"class": "package.module.Net", "args": {"width": 3}}
    written = Experiment.from_dict({**MINIMAL, "model": raw}).to_dict()["model"]
    assert written == {**raw, "init_from": None, "freeze": []}


def test_default_name_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my-net.yaml"
    path.write_text("data: {file: x.h5}\nmodel: {name: mlp}\n")
    assert Experiment.load(path).name == "my-net"
    assert Experiment.load(path, "name=other", "seed=3").name == "other"


def test_experiment_is_immutable() -> None:
    experiment = Experiment.from_dict(MINIMAL)
    with pytest.raises(AttributeError):
        experiment.seed = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        experiment.trainer.max_epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("trainer", "epochs"),
    [({}, 10), ({"max_epochs": 3}, 3), ({"max_steps": 5}, -1), ({"max_steps": 5, "max_epochs": 2}, 2)],
)
def test_training_always_ends(trainer: dict[str, int], epochs: int) -> None:
    assert Experiment.from_dict({**MINIMAL, "trainer": trainer}).trainer.epochs == epochs


@pytest.mark.parametrize(("data", "per_device"), [({}, 64), ({"batch_size": 10}, 10), ({"global_batch_size": 24}, 4)])
def test_batch_size_per_device(data: dict[str, int], per_device: int) -> None:
    raw = {**MINIMAL, "data": {"file": "x.h5", **data}, "resources": {"nodes": 2, "gpus_per_node": 3}}
    assert Experiment.from_dict(raw).batch_size_per_device == per_device


def test_keys_of_sites_and_experiments_differ() -> None:
    assert not set(field_names(SiteProfile)) & set(_PARSERS)
