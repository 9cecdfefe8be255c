"""Fixed points and their gradients."""

import torch
from torch import Tensor

from hpc_dl.nn.fixed_point import fixed_point, solve

WEIGHT = torch.tensor([[0.2, -0.5, 0.1], [0.4, 0.1, 0.3], [-0.3, 0.2, 0.5]], dtype=torch.float64)
BIAS = torch.tensor([[0.3, -0.2, 0.8], [1.0, 0.4, -0.6]], dtype=torch.float64)


def test_fixed_point_of_a_linear_contraction() -> None:
    actual = solve(lambda h: h @ WEIGHT.T + BIAS, torch.zeros_like(BIAS), 1e-12, 500)
    torch.testing.assert_close(actual.state, torch.linalg.solve(torch.eye(3, dtype=torch.float64) - WEIGHT, BIAS.T).T)
    assert actual.residual <= 1e-12 and 5 < actual.iterations < 200


def test_solve_stops_at_max_iterations() -> None:
    actual = solve(lambda h: h @ WEIGHT.T + BIAS, torch.zeros_like(BIAS), 1e-12, 3)
    assert actual.iterations == 3 and actual.residual > 0.01


def test_empty_state_converges_immediately() -> None:
    assert solve(lambda h: h / 2, torch.zeros(4, 2), 1e-6, 10)[1:] == (1, 0.0)
    assert solve(lambda h: h / 2, torch.zeros(0, 2), 1e-6, 10)[1:] == (1, 0.0)


def function(weight: Tensor, bias: Tensor, state: Tensor) -> Tensor:
    return torch.tanh(state @ weight.T + bias)


def test_implicit_gradient_passes_gradcheck() -> None:
    def state(weight: Tensor, bias: Tensor) -> Tensor:
        return fixed_point(lambda h: function(weight, bias, h), torch.zeros_like(bias), 1e-14, 1000).state

    inputs = WEIGHT.clone().requires_grad_(), BIAS.clone().requires_grad_()
    assert torch.autograd.gradcheck(state, inputs, check_undefined_grad=False)


def test_implicit_gradient_matches_unrolled_iterations() -> None:
    gradients = []
    for implicit in (True, False):
        weight, bias = WEIGHT.clone().requires_grad_(), BIAS.clone().requires_grad_()
        if implicit:
            h = fixed_point(lambda h, w=weight, b=bias: function(w, b, h), torch.zeros_like(BIAS), 1e-14, 1000).state
        else:
            h = torch.zeros_like(BIAS)
            for _ in range(200):
                h = function(weight, bias, h)
        (h.square().sum() + h[0, 0]).backward()
        gradients.append((weight.grad, bias.grad))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_no_graph_without_gradients() -> None:
    weight = WEIGHT.clone().requires_grad_()
    with torch.no_grad():
        actual = fixed_point(lambda h: function(weight, BIAS, h), torch.zeros_like(BIAS), 1e-8, 100)
    assert not actual.state.requires_grad
    assert not fixed_point(lambda h: function(WEIGHT, BIAS, h), torch.zeros_like(BIAS), 1e-8, 100).state.requires_grad
