"""Activations: their formulas, shapes and gradients, and what the learned ones can learn.

A new activation is tested without a change here; its formula can be added to ``FORMULAS``.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig, penalty
from hpc_dl.nn.activations import ACTIVATIONS, ActivationSetting, ParametricActivation, activation, pieces
from hpc_dl.nn.dense import dense_block
from hpc_dl.schema import Section, parse

X = torch.linspace(-3, 3, 13)
NAMES = tuple(ACTIVATIONS)
ELEMENTWISE = tuple(name for name in NAMES if name not in ("maxout", "apl"))


def below(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


FORMULAS: dict[str, Tensor] = {
    "none": X,
    "sigmoid": 1 / (1 + (-X).exp()),
    "tanh": (X.exp() - (-X).exp()) / (X.exp() + (-X).exp()),
    "relu": below(X, 0),
    "centered_softplus": (X.exp() + 1).log() - torch.tensor(2.0).log(),
    "leaky_relu": below(X, 0.01),
    "very_leaky_relu": below(X, 1 / 3),
    "rrelu": below(X, (1 / 8 + 1 / 3) / 2),  # the mean of U(1/8, 1/3) in evaluation
    "prelu": below(X, 0.25),
    "elu": torch.where(X > 0, X, X.exp() - 1),
    "selu": 1.0507009873554805 * torch.where(X > 0, X, 1.6732632423543772 * (X.exp() - 1)),
    "gelu": X * (1 + torch.erf(X / 2**0.5)) / 2,
    "silu": X / (1 + (-X).exp()),
    # The hinges at 0 and −1.
    "apl": torch.where(X > 0, X, torch.where(X > -1, 0.01 * X, 0.02 * X + 0.01)),
}


PARAMETRIC: list[tuple[dict[str, Any], Tensor]] = [
    ({"name": "leaky_relu", "slope": 0.2}, below(X, 0.2)),
    ({"name": "very_leaky_relu", "slope": 1 / 5.5}, below(X, 1 / 5.5)),
    ({"name": "rrelu", "lower": 0.1, "upper": 0.5}, below(X, 0.3)),
    ({"name": "rrelu", "lower": 0.0}, below(X, 1 / 6)),
    ({"name": "prelu", "slope": 0.1}, below(X, 0.1)),
    ({"name": "elu", "alpha": 0.5}, torch.where(X > 0, X, 0.5 * (X.exp() - 1))),
    ({"name": "apl", "hinges": 1}, below(X, 0.01)),
]


@pytest.mark.parametrize("name", NAMES)
def test_activation_matches_its_formula(name: str) -> None:
    if name not in FORMULAS:
        pytest.skip(f"FORMULAS has no formula for {name}")
    torch.testing.assert_close(activation(name, 1).eval()(X[:, None])[:, 0], FORMULAS[name])


@pytest.mark.parametrize(("setting", "expected"), PARAMETRIC, ids=lambda value: str(value)[:40])
def test_parameters_of_activations(setting: dict[str, Any], expected: Tensor) -> None:
    module = activation(ParametricActivation(**setting), 1).eval()
    torch.testing.assert_close(module(X[:, None])[:, 0], expected)


class Model(Section):
    activation: ActivationSetting = "relu"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"name": "leaky"}, "model.activation.name: is not one of the allowed values (got 'leaky'; "),
        ({"name": "elu", "alpha": 0.0}, "model.activation.alpha: must be greater than 0 (got 0.0)"),
        (
            {"name": "leaky_relu", "alpha": 0.2},
            "model.activation: alpha: not a parameter of leaky_relu, which has slope (got ",
        ),
        ({"name": "relu", "slope": 0.2}, "model.activation: slope: not a parameter of relu, which has no parameters"),
        ({"name": "rrelu", "lower": 0.5}, "model.activation: lower 0.5 is above upper 0.333333 (got "),
        ({"name": "elu", "alhpa": 1.0}, "model.activation.alhpa: unknown key (allowed: name, slope, "),
        (3, "model.activation: is not one of the allowed values (got 3; "),
    ],
)
def test_wrong_parameters_are_refused(raw: object, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(Model, {"activation": raw}, "model")
    assert str(raised.value).startswith(message)


def test_setting_with_parameters_survives_the_stored_configuration() -> None:
    model = parse(Model, {"activation": {"name": "maxout", "pieces": 5}}, "model")
    assert parse(Model, model.model_dump(mode="json"), "model") == model
    assert (pieces(model.activation), pieces("maxout"), pieces("relu")) == (5, 2, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), [((5, 3), 1), ((2, 3, 4, 5), 1), ((0, 3), -1), ((2, 4, 3), -1)])
def test_units_are_along_the_axis(name: str, shape: tuple[int, ...], axis: int) -> None:
    """Any shape, and each unit computed alone."""
    k = pieces(name)
    wide = list(shape)
    wide[axis] = 3 * k
    x = torch.randn(wide, generator=torch.Generator().manual_seed(0))
    y = activation(name, 3, axis).eval()(x)
    assert y.shape == shape
    for unit in range(3):
        alone = activation(name, 1, axis).eval()(x.narrow(axis, unit * k, k))
        torch.testing.assert_close(alone, y.narrow(axis, unit, 1))
    with torch.device("meta"):
        assert activation(name, 3, axis)(torch.empty(wide)).shape == shape


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_activation_gradients_and_parameters(name: str) -> None:
    first, second = activation(name, 1), activation(name, 1)
    x = X.clone().requires_grad_()
    (first(x) - 5).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.count_nonzero() > 0
    learned = list(first.parameters())
    if name in FORMULAS:
        assert bool(learned) is (name == "prelu")
    for parameter in learned:
        assert parameter.grad is not None and bool((parameter.grad != 0).all()), "a parameter without an effect"
    assert not {id(p) for p in learned} & {id(p) for p in second.parameters()}
    assert penalty(learned, LossConfig(l1=1.0)) is None, "slopes are not penalized"


def test_rrelu_slopes_are_random_in_training_only() -> None:
    torch.manual_seed(0)
    x = -torch.ones(4000)
    module = activation("rrelu", 1).train()
    slopes = -module(x)
    assert slopes.min() >= 1 / 8 and slopes.max() <= 1 / 3
    assert slopes.mean().item() == pytest.approx(11 / 48, abs=0.005)
    assert slopes.std().item() == pytest.approx((1 / 3 - 1 / 8) / 12**0.5, abs=0.003)
    assert not torch.equal(module(x), module(x))
    assert torch.equal(module.eval()(x), module(x))


@pytest.mark.parametrize("k", [2, 3])
def test_maxout_unit_is_the_maximum_of_k_affine_functions(k: int) -> None:
    """h = max over j of (w_j x + b_j), k times the weights: 33,537 for 64 → 256 → 1 and k = 2."""
    torch.manual_seed(0)
    layer, unit = dense_block(64, 256, ParametricActivation(name="maxout", pieces=k))
    assert isinstance(layer, nn.Linear)
    x = torch.randn(7, 64)
    weights, biases = layer.weight.view(256, k, 64), layer.bias.view(256, k)
    expected = torch.stack([x @ weights[:, j].T + biases[:, j] for j in range(k)]).amax(0)
    torch.testing.assert_close(unit(layer(x)), expected)
    parameters = sum(p.numel() for p in layer.parameters()) + 257
    assert parameters == k * 65 * 256 + 257 and (k > 2 or parameters == 33_537)


def test_maxout_can_learn_the_maximum_of_two_inputs() -> None:
    """One unit with two pieces represents max(x₁, x₂), which no function of one number can."""
    torch.manual_seed(0)
    network = nn.Sequential(*dense_block(2, 1, "maxout"))
    x = torch.randn(200, 2)
    fit(network, x, x.amax(1, keepdim=True))
    torch.testing.assert_close(network(x), x.amax(1, keepdim=True), rtol=0, atol=1e-3)


def test_apl_has_its_own_hinges_and_slopes_for_each_unit() -> None:
    """max(0, x) + Σ aᵢ max(0, bᵢ − x): Agostinelli et al. learn 2 S numbers for each unit."""
    module = activation(ParametricActivation(name="apl", hinges=3), 4)
    assert sum(p.numel() for p in module.parameters()) == 2 * 3 * 4
    torch.manual_seed(0)
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    with torch.no_grad():
        for name, values in (("slopes", a), ("hinges", b)):
            for parameter, value in zip(module.get_submodule(name).parameters(), values, strict=True):
                parameter.copy_(value)
    x = torch.randn(6, 4, 5)
    expected = x.relu() + sum(a[i][:, None] * (b[i][:, None] - x).relu() for i in range(3))
    torch.testing.assert_close(module(x), expected)
    assert penalty(list(module.parameters()), LossConfig(l1=1.0)) is None, "slopes are not penalized"


def test_apl_can_learn_different_functions_in_its_units() -> None:
    module = activation(ParametricActivation(name="apl", hinges=1), 2)
    x = X[:, None].expand(-1, 2)
    expected = torch.stack([X.relu() - 0.5 * (1 - X).relu(), X.abs()], 1)  # not convex; |x|
    fit(module, x, expected)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-3)


def fit(module: nn.Module, x: Tensor, expected: Tensor) -> None:
    optimizer = torch.optim.LBFGS(module.parameters(), line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        actual = functional.mse_loss(module(x), expected)
        actual.backward()
        return actual

    for _ in range(5):
        optimizer.step(loss)  # type: ignore[arg-type]
