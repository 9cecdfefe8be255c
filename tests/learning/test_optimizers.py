"""Each optimizer compared with torch's own and with its formula."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn, optim

from hpc_dl.errors import ConfigError
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.schema import parse_named

CASES: dict[str, tuple[type[optim.Optimizer], dict[str, Any], dict[str, Any]]] = {
    # name: (torch's class, options in the YAML, arguments that torch must receive)
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
    "adadelta": (
        optim.Adadelta,
        {"lr": 0.2, "rho": 0.8, "weight_decay": 0.1},
        {"lr": 0.2, "rho": 0.8, "weight_decay": 0.1},
    ),
    "nadam": (
        optim.NAdam,
        {"lr": 0.2, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.1},
        {"lr": 0.2, "betas": (0.8, 0.9), "weight_decay": 0.1},
    ),
}
FUSED = ("sgd", "adam", "adamw")
DEFAULT_RATES = {
    "sgd": 0.01,
    "adam": 1e-3,
    "adamw": 1e-3,
    "rmsprop": 1e-3,
    "adagrad": 0.01,
    "adadelta": 1.0,
    "nadam": 2e-3,
}


def test_all_cases_are_known_optimizers() -> None:
    assert set(CASES) == set(DEFAULT_RATES) <= set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_lowers_a_quadratic_function(name: str) -> None:
    """Also for an optimizer that has no entry in ``CASES`` yet."""
    optimizer, weights = minimized(parse_named(OPTIMIZERS, {"name": name}, "optimizer").build, steps=20)
    assert isinstance(optimizer, optim.Optimizer)
    start = torch.tensor([3.0, -2.0])
    assert (weights * torch.tensor([1.0, 3.0])).square().sum() < (start * torch.tensor([1.0, 3.0])).square().sum()


def minimized(optimizer_of: Any, steps: int = 5) -> tuple[optim.Optimizer, torch.Tensor]:
    """Take some steps on a quadratic function; return the optimizer and the weights."""
    weights = nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = optimizer_of([weights])
    for _ in range(steps):
        optimizer.zero_grad()
        (weights * torch.tensor([1.0, 3.0])).square().sum().backward()
        optimizer.step()
    return optimizer, weights.detach()


@pytest.mark.parametrize("name", CASES)
def test_optimizer_matches_torch(name: str) -> None:
    kind, written, expected = CASES[name]
    written = {**written, "fused": False} if name in FUSED else written
    optimizer, weights = minimized(parse_named(OPTIMIZERS, {"name": name, **written}, "optimizer").build)
    assert type(optimizer) is kind
    assert {key: optimizer.param_groups[0][key] for key in expected} == expected
    options = {key: value for key, value in expected.items() if key not in ("eps", "dampening")}
    _, reference = minimized(lambda parameters: kind(parameters, **options))
    assert torch.equal(weights, reference)
    assert not torch.equal(weights, torch.tensor([3.0, -2.0]))


@pytest.mark.parametrize("name", CASES)
def test_defaults_match_torch(name: str) -> None:
    optimizer = parse_named(OPTIMIZERS, {"name": name}, "optimizer").build([nn.Parameter(torch.zeros(1))])
    reference = CASES[name][0]([nn.Parameter(torch.zeros(1))], lr=DEFAULT_RATES[name])
    assert optimizer.defaults | {"fused": None} == reference.defaults | {"fused": None}


@pytest.mark.parametrize("name", FUSED)
def test_fused_matches_unfused(name: str) -> None:
    def build(fused: Any) -> Any:
        return parse_named(OPTIMIZERS, {"name": name, "fused": fused}, "optimizer").build

    (one, fused), (_, each), (auto, _) = (minimized(build(value)) for value in (True, False, "auto"))
    torch.testing.assert_close(fused, each)
    assert one.defaults["fused"] is True
    assert bool(auto.defaults["fused"]) is (name != "sgd"), "on a CPU, where it is faster"


def test_fused_is_refused_without_kernel() -> None:
    with pytest.raises(ConfigError, match="fused"):
        parse_named(OPTIMIZERS, {"name": "rmsprop", "fused": True}, "optimizer")


# --- three steps by hand: one weight w, from 3, on w², whose gradient is 2 w; each gives what is


def sgd(lr: float, momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> Callable[[float], float]:
    """The accumulator v ← μ v + g, and w ← w − lr v."""
    v = 0.0

    def update(w: float) -> float:
        nonlocal v
        g = 2 * w + decay * w
        v = momentum * v + g
        return -lr * (g + momentum * v if nesterov else v)

    return update


def adagrad(lr: float) -> Callable[[float], float]:
    total = 0.0

    def update(w: float) -> float:
        nonlocal total
        g = 2 * w
        total += g * g
        return -lr * g / (math.sqrt(total) + 1e-10)

    return update


def rmsprop(lr: float, alpha: float, momentum: float = 0.0) -> Callable[[float], float]:
    mean = v = 0.0

    def update(w: float) -> float:
        nonlocal mean, v
        g = 2 * w
        mean = alpha * mean + (1 - alpha) * g * g
        v = momentum * v + g / (math.sqrt(mean) + 1e-8)
        return -lr * v

    return update


def adam(lr: float, beta1: float, beta2: float, l2: float = 0.0, decoupled: float = 0.0) -> Callable[[float], float]:
    m = v = 0.0
    t = 0

    def update(w: float) -> float:
        nonlocal m, v, t
        t += 1
        g = 2 * w + l2 * w
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        step = (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + 1e-8)
        return -lr * step - lr * decoupled * w

    return update


def adadelta(lr: float, rho: float) -> Callable[[float], float]:
    gradients = updates = 0.0

    def update(w: float) -> float:
        nonlocal gradients, updates
        g = 2 * w
        gradients = rho * gradients + (1 - rho) * g * g
        step = math.sqrt(updates + 1e-6) / math.sqrt(gradients + 1e-6) * g
        updates = rho * updates + (1 - rho) * step * step
        return -lr * step

    return update


def nadam(lr: float, beta1: float, beta2: float) -> Callable[[float], float]:
    """NAdam with the momentum schedule that Dozat proposes: μ = β (1 − ½ 0.96^(t / 250))."""
    m = v = 0.0
    product = 1.0
    t = 0

    def mu(step: int) -> float:
        return beta1 * (1 - 0.5 * 0.96 ** (step * 0.004))

    def update(w: float) -> float:
        nonlocal m, v, product, t
        t += 1
        g = 2 * w
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        product *= mu(t)
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        return -lr * ahead / (math.sqrt(v / (1 - beta2**t)) + 1e-8)

    return update


FORMULAS: list[tuple[dict[str, Any], Callable[[float], float]]] = [
    ({"name": "sgd", "lr": 0.1}, sgd(0.1)),
    ({"name": "sgd", "lr": 0.1, "weight_decay": 0.5}, sgd(0.1, decay=0.5)),
    ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, sgd(0.1, 0.9)),
    ({"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}, sgd(0.1, 0.9, nesterov=True)),
    ({"name": "adagrad", "lr": 0.5}, adagrad(0.5)),
    ({"name": "rmsprop", "lr": 0.1, "alpha": 0.9}, rmsprop(0.1, 0.9)),
    ({"name": "rmsprop", "lr": 0.1, "alpha": 0.9, "momentum": 0.5}, rmsprop(0.1, 0.9, 0.5)),
    ({"name": "adam", "lr": 0.1, "beta1": 0.8, "beta2": 0.9}, adam(0.1, 0.8, 0.9)),
    ({"name": "adam", "lr": 0.1, "weight_decay": 0.5}, adam(0.1, 0.9, 0.999, l2=0.5)),
    ({"name": "adamw", "lr": 0.1, "weight_decay": 0.5}, adam(0.1, 0.9, 0.999, decoupled=0.5)),
    ({"name": "adadelta", "rho": 0.8}, adadelta(1.0, 0.8)),
    ({"name": "nadam", "lr": 0.1, "beta1": 0.8, "beta2": 0.9}, nadam(0.1, 0.8, 0.9)),
]


def test_every_case_has_a_formula() -> None:
    assert {written["name"] for written, _ in FORMULAS} == set(CASES)


@pytest.mark.parametrize(("written", "update"), FORMULAS, ids=[str(list(w.values())) for w, _ in FORMULAS])
def test_three_steps_match_the_formula(written: dict[str, Any], update: Callable[[float], float]) -> None:
    weight = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = parse_named(OPTIMIZERS, written, "optimizer").build([weight])
    expected = 3.0
    for _ in range(3):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        expected += update(expected)
        assert weight.item() == pytest.approx(expected, rel=1e-9)
    assert expected < 3
