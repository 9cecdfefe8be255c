"""The fixed point of a contraction, with gradients that need not store the iterations.

The method is that of Almeida (1987) and Pineda (1987).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class FixedPoint(NamedTuple):
    """The result of a fixed-point iteration.

    Attributes:
        state: the fixed point, up to the residual.
        iterations: how many times the function was applied.
        residual: largest change of an entry in the last iteration, relative to the largest entry.
    """

    state: Tensor
    iterations: int
    residual: float


def solve(function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iterations: int) -> FixedPoint:
    """Apply a function repeatedly until its result stops changing, without gradients.

    Args:
        function: a contraction, from any shape to the same one.
        start: initial state; all initial states lead to the same fixed point (Banach, 1922).
        tolerance: residual at which to stop; at least four times the machine precision is used.
        max_iterations: maximum number of iterations.
    """
    state, residual, iterations = start.detach(), float("inf"), 0
    target = max(tolerance, 4 * torch.finfo(start.dtype).eps)
    with torch.no_grad():
        while residual > target and iterations < max_iterations:
            new = function(state)
            largest = new.abs().max().clamp(min=torch.finfo(new.dtype).tiny) if new.numel() else new.new_ones(())
            residual = float((new - state).abs().max() / largest) if new.numel() else 0.0
            state, iterations = new, iterations + 1
    return FixedPoint(state, iterations, residual)


def fixed_point(
    function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iterations: int
) -> FixedPoint:
    """Return the fixed point H = F(H), with its gradient by the implicit function theorem.

    The gradient g of H becomes y = g + (∂F/∂H)ᵀ y, the fixed point of another contraction, which is
    found in the same way; the parameters of F get the gradient (∂F/∂θ)ᵀ y. Memory is needed for one
    application of F, however many there were (deep equilibrium models: Bai, Kolter and Koltun,
    2019). Second derivatives are not correct.

    Args:
        function: a contraction F, from any shape to the same one.
        start: initial state; it gets no gradient.
        tolerance: residual at which to stop, for the state and for the gradient.
        max_iterations: maximum number of iterations.
    """
    solution = solve(function, start, tolerance, max_iterations)
    if not torch.is_grad_enabled():
        return solution
    state = function(solution.state)  # one application with gradients of the parameters
    if state.requires_grad:
        before = solution.state.requires_grad_()
        after = function(before)

        def adjoint(gradient: Tensor) -> Tensor:
            def step(y: Tensor) -> Tensor:
                return gradient + torch.autograd.grad(after, before, y, retain_graph=True)[0]

            return solve(step, gradient, tolerance, max_iterations).state

        state.register_hook(adjoint)  # type: ignore[no-untyped-call]
    return FixedPoint(state, solution.iterations, solution.residual)
