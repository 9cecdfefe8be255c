"""``key=value`` overrides."""

import pytest

from hpc_dl.config import overrides
from hpc_dl.errors import ConfigError


def test_values_are_yaml_and_missing_sections_are_created() -> None:
    before = {"seed": 0, "model": {"name": "cnn", "channels": [1]}, "wandb": None}
    after = overrides.apply(
        before,
        [
            "seed=3",
            "optimizer.lr=1e-3",
            "model.channels=[8, 16]",
            "resources.time=12:30:00",
            "name=no",
            "wandb.tags=[a=b, c]",
            "data.splits.fractions={train: 0.5, val: 0.5}",
            "trainer.max_steps=",
            "seed=4",
        ],
    )
    assert after == {
        "seed": 4,
        "model": {"name": "cnn", "channels": [8, 16]},
        "wandb": {"tags": ["a=b", "c"]},
        "optimizer": {"lr": 1e-3},
        "resources": {"time": "12:30:00"},
        "name": "no",
        "data": {"splits": {"fractions": {"train": 0.5, "val": 0.5}}},
        "trainer": {"max_steps": None},
    }
    assert before == {"seed": 0, "model": {"name": "cnn", "channels": [1]}, "wandb": None}, "the original has changed"


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["model.name=mlp"], {"name": "mlp"}),
        (["model.name=mlp", "model.width=8"], {"name": "mlp", "width": 8}),
        (["model.name=cnn"], {"name": "cnn", "channels": [1]}),
        (["model.class=my.Net"], {"class": "my.Net"}),
        (["model.class=my.Net", "model.args={a: 1}"], {"class": "my.Net", "args": {"a": 1}}),
        (["model.class=my.Net", "model.args={a: 1}", "model.name=mlp"], {"name": "mlp"}),
        (["model.class=my.Net", "model.args={a: 1}", "model.class=my.Other"], {"class": "my.Other"}),
    ],
)
def test_new_model_drops_the_old_parameters(arguments: list[str], model: dict[str, object]) -> None:
    assert overrides.apply({"model": {"name": "cnn", "channels": [1]}}, arguments) == {"model": model}


def test_new_optimizer_drops_the_old_parameters() -> None:
    raw = {"name": "a", "optimizer": {"name": "adam", "beta1": 0.5}}
    assert overrides.apply(raw, ["optimizer.name=sgd"]) == {"name": "a", "optimizer": {"name": "sgd"}}
    assert overrides.apply(raw, ["name=b"]) == {**raw, "name": "b"}


def test_all_invalid_overrides_are_reported() -> None:
    allowed = "(allowed: key=value, for example optimizer.lr=1e-3)"
    with pytest.raises(ConfigError) as caught:
        overrides.apply(
            {"seed": 7}, ["lr", "=3", "optimizer.=1", "a..b=1", "--epochs", "seed.x=3", "optimizer.lr=[1", "good=1"]
        )
    assert str(caught.value).splitlines() == [
        f"lr: is not an override {allowed}",
        f"=3: is not an override {allowed}",
        f"optimizer.=1: is not an override {allowed}",
        f"a..b=1: is not an override {allowed}",
        f"--epochs: is not an override {allowed}",
        "seed.x: seed is not a section (got 7)",
        "override optimizer.lr=[1, line 1, column 3: not valid YAML: expected ',' or ']', but got '<stream end>'",
    ]


def test_dropped_keys_are_reported() -> None:
    messages: list[str] = []
    raw = {"model": {"name": "cnn", "channels": [4], "hidden": 8}, "optimizer": {"name": "sgd", "lr": 1}}
    overrides.apply(raw, ["model.name=mlp", "optimizer.name=sgd", "name=x"], messages.append)
    assert messages == [
        "hpc-dl: model.name=mlp: model.channels, model.hidden of the file were for another choice and are not used"
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_of_a_new_choice_are_kept_in_any_order(order: int) -> None:
    messages: list[str] = []
    raw = {"optimizer": {"name": "adam", "lr": 1, "beta1": 0.5}}
    arguments = ["optimizer.name=sgd", "optimizer.lr=0.1", "optimizer.momentum=0.9"][::order]
    result = overrides.apply(raw, arguments, messages.append)
    assert result == {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
    assert messages == [
        "hpc-dl: optimizer.name=sgd: optimizer.beta1 of the file were for another choice and are not used"
    ]
