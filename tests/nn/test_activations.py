"""Activations: their formulas, shapes and gradients, and what the learned ones can learn.

A new activation is tested without a change here; its formula can be added to ``FORMULAS``.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.learning.losses import LossConfig, penalty
from hpc_dl.nn.activations import ACTIVATIONS, AdaptivePiecewiseLinear, Maxout, activation

X = torch.linspace(-3, 3, 13)
NAMES = tuple(ACTIVATIONS)


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
    "rrelu": below(X, 0.3),  # the mean of U(0.1, 0.5) in evaluation
    "prelu": below(X, 0.25),
    "elu": torch.where(X > 0, X, X.exp() - 1),
    "selu": 1.0507009873554805 * torch.where(X > 0, X, 1.6732632423543772 * (X.exp() - 1)),
    "gelu": X * (1 + torch.erf(X / 2**0.5)) / 2,
    "silu": X / (1 + (-X).exp()),
    # The lines 0, x / 2 + 1 / 4 and x; the hinges at 0 and −1.
    "maxout": torch.where(X < -0.5, 0.0, torch.where(X > 0.5, X, X / 2 + 1 / 4)),
    "apl": torch.where(X > 0, X, torch.where(X > -1, 0.01 * X, 0.02 * X + 0.01)),
}


@pytest.mark.parametrize("name", NAMES)
def test_activation_matches_its_formula(name: str) -> None:
    if name not in FORMULAS:
        pytest.skip(f"FORMULAS has no formula for {name}")
    torch.testing.assert_close(activation(name).eval()(X), FORMULAS[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 4, 5), (2, 1, 3, 4, 5), (0, 3)])
def test_activation_is_elementwise_for_any_shape(name: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    module = activation(name).eval()
    y = module(x)
    assert y.shape == shape
    # elementwise: the position has no effect
    torch.testing.assert_close(y.flatten(), module(x.flatten()))
    with torch.device("meta"):
        assert activation(name)(torch.empty(shape)).shape == shape


@pytest.mark.parametrize("name", NAMES)
def test_activation_gradients_and_parameters(name: str) -> None:
    first, second = activation(name), activation(name)
    x = X.clone().requires_grad_()
    (first(x) - 5).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.count_nonzero() > 0
    learned = list(first.parameters())
    if name in FORMULAS:
        assert bool(learned) is (name in ("prelu", "maxout", "apl"))
    for parameter in learned:
        assert parameter.grad is not None and bool((parameter.grad != 0).all()), "a parameter without an effect"
    assert not {id(p) for p in learned} & {id(p) for p in second.parameters()}
    assert penalty(learned, LossConfig(l1=1.0)) is None, "slopes are not penalized"


def test_rrelu_slopes_are_random_in_training_only() -> None:
    torch.manual_seed(0)
    x = -torch.ones(4000)
    module = activation("rrelu").train()
    slopes = -module(x)
    assert slopes.min() >= 0.1 and slopes.max() <= 0.5
    assert slopes.mean().item() == pytest.approx(0.3, abs=0.01)
    assert slopes.std().item() == pytest.approx(0.4 / 12**0.5, abs=0.005)
    assert not torch.equal(module(x), module(x))
    assert torch.equal(module.eval()(x), module(x))


def test_maxout_starts_as_relu_and_can_learn_abs() -> None:
    module = Maxout(2)
    torch.testing.assert_close(module(X), functional.relu(X))
    fit(module, X.abs())
    torch.testing.assert_close(module(X), X.abs(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("pieces", [2, 3, 4, 7])
def test_each_maxout_line_is_the_maximum_somewhere(pieces: int) -> None:
    module = Maxout(pieces)
    x = torch.linspace(-1.5, 1.5, 3001)
    lines = module.slopes[:, None] * x + module.offsets[:, None]
    torch.testing.assert_close(module(x), lines.amax(0))
    assert len(lines.argmax(0).unique()) == pieces


def test_apl_starts_as_leaky_relu_and_can_learn_nonconvex() -> None:
    module = AdaptivePiecewiseLinear(1)
    torch.testing.assert_close(module(X), functional.leaky_relu(X, 0.01))
    with torch.no_grad():
        module.slopes.fill_(-0.5)
        module.hinges.fill_(1.0)
    # max(0, x) − ½ max(0, 1 − x) by hand
    torch.testing.assert_close(module(torch.tensor([-2.0, 0, 0.5, 1, 3])), torch.tensor([-1.5, -0.5, 0.25, 1, 3]))
    expected = functional.relu(X) - 0.5 * functional.relu(1 - X)
    other = AdaptivePiecewiseLinear(1)
    fit(other, expected)
    torch.testing.assert_close(other(X), expected, rtol=0, atol=1e-3)


def fit(module: nn.Module, expected: Tensor) -> None:
    optimizer = torch.optim.LBFGS(module.parameters(), line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        actual = functional.mse_loss(module(X), expected)
        actual.backward()
        return actual

    for _ in range(5):
        optimizer.step(loss)  # type: ignore[arg-type]
