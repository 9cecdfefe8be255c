"""Each optimizer is torch's own, with the values of the YAML."""

from typing import Any

import pytest
import torch
from torch import nn, optim

from hpc_dl.errors import ConfigError
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.schema import parse_named

CASES: dict[str, tuple[type[optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    # name: (torch's class, what the YAML says, what torch must have got)
    "sgd": (
        optim.SGD,
        {"lr": 0.2, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        {"lr": 0.2, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "dampening": 0},
    ),
    "adam": (
        optim.Adam,
        {"lr": 0.2, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1},
        {"lr": 0.2, "betas": (0.8, 0.9), "weight_decay": 0.1, "eps": 1e-8},
    ),
    "adamw": (
        optim.AdamW,
        {"lr": 0.2, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1},
        {"lr": 0.2, "betas": (0.8, 0.9), "weight_decay": 0.1},
    ),
    "rmsprop": (
        optim.RMSprop,
        {"lr": 0.2, "alpha": 0.8, "momentum": 0.7, "weight_decay": 0.1},
        {"lr": 0.2, "alpha": 0.8, "momentum": 0.7, "weight_decay": 0.1},
    ),
    "adagrad": (optim.Adagrad, {"lr": 0.2, "weight_decay": 0.1}, {"lr": 0.2, "weight_decay": 0.1}),
}
FUSED = ("sgd", "adam", "adamw")
DEFAULT_RATES = {"sgd": 0.01, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "adagrad": 0.01}


def test_every_optimizer_is_tested() -> None:
    assert set(CASES) == set(OPTIMIZERS) == set(DEFAULT_RATES)


def minimised(optimizer_of: Any, steps: int = 5) -> tuple[optim.Optimizer, torch.Tensor]:
    """Some steps on a quadratic function."""
    weights = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = optimizer_of([weights])
    for _ in range(steps):
        optimizer.zero_grad()
        (weights * torch.tensor([1.0, 3.0])).square().sum().backward()
        optimizer.step()
    return optimizer, weights.detach()


@pytest.mark.parametrize("name", CASES)
def test_it_is_torchs_with_the_given_values_and_steps_like_it(name: str) -> None:
    kind, written, wanted = CASES[name]
    written = {**written, "fused": False} if name in FUSED else written
    optimizer, weights = minimised(parse_named(OPTIMIZERS, {"name": name, **written}, "optimizer").build)
    assert type(optimizer) is kind
    assert {key: optimizer.param_groups[0][key] for key in wanted} == wanted
    options = {key: value for key, value in wanted.items() if key not in ("eps", "dampening")}
    _, reference = minimised(lambda parameters: kind(parameters, **options))
    assert torch.equal(weights, reference)
    assert not torch.equal(weights, torch.tensor([3.0, -2.0]))


@pytest.mark.parametrize("name", CASES)
def test_the_defaults_are_torchs(name: str) -> None:
    optimizer = parse_named(OPTIMIZERS, {"name": name}, "optimizer").build([nn.Parameter(torch.zeros(1))])
    reference = CASES[name][0]([nn.Parameter(torch.zeros(1))], lr=DEFAULT_RATES[name])
    assert optimizer.defaults | {"fused": None} == reference.defaults | {"fused": None}


@pytest.mark.parametrize("name", FUSED)
def test_one_kernel_for_all_parameters_does_the_same(name: str) -> None:
    def build(fused: Any) -> Any:
        return parse_named(OPTIMIZERS, {"name": name, "fused": fused}, "optimizer").build

    (one, fused), (_, each), (auto, _) = (minimised(build(value)) for value in (True, False, "auto"))
    torch.testing.assert_close(fused, each)
    assert one.defaults["fused"] is True
    assert bool(auto.defaults["fused"]) is (name != "sgd"), "on a CPU, where it is faster"


def test_an_optimizer_that_has_no_such_kernel_refuses_the_key() -> None:
    with pytest.raises(ConfigError, match="fused"):
        parse_named(OPTIMIZERS, {"name": "rmsprop", "fused": True}, "optimizer")
