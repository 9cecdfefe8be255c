"""Good configurations: what is shipped, what is written down, what follows from what."""

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
MINIMAL: dict[str, Any] = {"name": "least", "data": {"file": "x.h5"}, "model": {"name": "mlp"}}


def test_there_are_shipped_configs() -> None:
    assert {"cnn-digits", "mlp-fashion_mnist"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_is_named_by_what_it_holds_and_reads_back_the_same(path: Path) -> None:
    experiment = Experiment.load(path)
    model, _, source = path.stem.partition("-")
    assert path.suffix == ".yaml"
    assert model in models.names() and model == experiment.model.name
    assert source in sources.names() and source == experiment.data.source
    assert experiment.name == path.stem
    assert path.read_text().startswith("# "), "it does not say what it is for"
    assert Experiment.from_dict(yaml.loads(yaml.dumps(experiment.to_dict()), "here")) == experiment


def variants() -> list[Any]:
    found = [({"model": {"name": name}}, f"model-{name}") for name in models.names()]
    found += [({"optimizer": {"name": name}}, f"optimizer-{name}") for name in OPTIMIZERS]
    needed = {"step": {"every": 3}}
    found += [({"schedule": {"name": name, **needed.get(name, {})}}, f"schedule-{name}") for name in SCHEDULES]
    found += [
        ({"model": {"class": "package.module.Net", "args": {"a": [1, 2.0, "1"], "b": None}}}, "custom"),
        ({"data": {"file": "x.h5", "splits": {"fractions": {"train": 0.5, "val": 0.5, "test": 0}}}}, "fractions"),
        ({"data": {"file": "x.h5", "splits": {"groups": {"val": None}}}}, "groups"),
        ({"trainer": {"limit_train_batches": 1, "limit_val_batches": 1.0, "deterministic": "warn"}}, "trainer"),
        ({"resources": {"time": 30, "nodes": 2}}, "resources"),
        ({"metrics": ["accuracy", "top5"]}, "metrics"),
        ({"wandb": {"tags": ["no", "1e-3"], "group": "12:30:00"}}, "wandb"),
    ]
    return [pytest.param(raw, id=name) for raw, name in found]


@pytest.mark.parametrize("sections", variants())
def test_every_choice_reads_back_the_same_from_its_own_yaml(sections: dict[str, Any]) -> None:
    experiment = Experiment.from_dict({**MINIMAL, **sections})
    text = yaml.dumps(experiment.to_dict())
    again = Experiment.from_dict(yaml.loads(text, "here"))
    assert again == experiment
    # 1 and 1.0 are equal to Python, but not to Lightning: one batch, or all of them.
    assert repr(again) == repr(experiment)
    assert yaml.dumps(again.to_dict()) == text


def test_every_default_is_spelled_out_in_the_written_config() -> None:
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
    assert written["checkpoint"] == {"every": "auto", "monitor": "val/loss", "mode": "auto"}


def test_a_custom_model_is_written_as_it_is_read() -> None:
    raw = {"class": "package.module.Net", "args": {"width": 3}}
    written = Experiment.from_dict({**MINIMAL, "model": raw}).to_dict()["model"]
    assert written == {**raw, "init_from": None, "freeze": []}


def test_the_name_is_the_files_when_it_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "my-net.yaml"
    path.write_text("data: {file: x.h5}\nmodel: {name: mlp}\n")
    assert Experiment.load(path).name == "my-net"
    assert Experiment.load(path, ["name=other", "seed=3"]).name == "other"


def test_an_experiment_cannot_be_changed() -> None:
    experiment = Experiment.from_dict(MINIMAL)
    with pytest.raises(AttributeError):
        experiment.seed = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        experiment.trainer.max_epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("trainer", "epochs"),
    [({}, 10), ({"max_epochs": 3}, 3), ({"max_steps": 5}, -1), ({"max_steps": 5, "max_epochs": 2}, 2)],
)
def test_the_training_always_has_an_end(trainer: dict[str, int], epochs: int) -> None:
    assert Experiment.from_dict({**MINIMAL, "trainer": trainer}).trainer.epochs == epochs


@pytest.mark.parametrize(("data", "per_device"), [({}, 64), ({"batch_size": 10}, 10), ({"global_batch_size": 24}, 4)])
def test_the_batch_of_a_device(data: dict[str, int], per_device: int) -> None:
    raw = {**MINIMAL, "data": {"file": "x.h5", **data}, "resources": {"nodes": 2, "gpus_per_node": 3}}
    assert Experiment.from_dict(raw).batch_size_per_device == per_device


def test_the_keys_of_a_site_are_never_those_of_an_experiment() -> None:
    assert not set(field_names(SiteProfile)) & set(_PARSERS)
