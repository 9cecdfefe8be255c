"""The fixed point of a contraction, and its gradient without unrolling the iterations (Almeida,
1987; Pineda, 1987).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class FixedPoint(NamedTuple):
    """What the iterations came to.

    Attributes:
        state: where the function gives what it gets.
        iterations: how often the function was applied.
        residual: largest change of an entry in the last iteration, as a share of the largest entry.
    """

    state: Tensor
    iterations: int
    residual: float


def solve(function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iterations: int) -> FixedPoint:
    """Apply a function again and again until its result stays; no gradient.

    Args:
        function: a contraction, from any shape to the same one.
        start: where to begin; every start leads to the same state (Banach, 1922).
        tolerance: the residual to stop at; a few roundings at least.
        max_iterations: stop then at the latest.
    """
    state, residual, iterations = start.detach(), float("inf"), 0
    enough = max(tolerance, 4 * torch.finfo(start.dtype).eps)
    with torch.no_grad():
        while residual > enough and iterations < max_iterations:
            new = function(state)
            largest = new.abs().max().clamp(min=torch.finfo(new.dtype).tiny) if new.numel() else new.new_ones(())
            residual = float((new - state).abs().max() / largest) if new.numel() else 0.0
            state, iterations = new, iterations + 1
    return FixedPoint(state, iterations, residual)


def fixed_point(
    function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iterations: int
) -> FixedPoint:
    """The fixed point H = F(H) with its gradient by the implicit function theorem.

    The gradient g of H becomes y = g + (∂F/∂H)ᵀ y, which is a fixed point of a contraction as well
    and is found in the same way; F's parameters get (∂F/∂θ)ᵀ y. The memory is that of one
    application of F, however many there were (deep equilibrium models: Bai, Kolter and Koltun,
    2019). Gradients of gradients are not right.

    Args:
        function: a contraction, from any shape to the same one.
        start: where to begin; it gets no gradient.
        tolerance: the residual to stop at, of the state and of the gradient.
        max_iterations: stop then at the latest.
    """
    found = solve(function, start, tolerance, max_iterations)
    if not torch.is_grad_enabled():
        return found
    state = function(found.state)  # from here to the parameters
    if state.requires_grad:
        before = found.state.requires_grad_()
        after = function(before)

        def adjoint(gradient: Tensor) -> Tensor:
            def step(y: Tensor) -> Tensor:
                return gradient + torch.autograd.grad(after, before, y, retain_graph=True)[0]

            return solve(step, gradient, tolerance, max_iterations).state

        state.register_hook(adjoint)  # type: ignore[no-untyped-call]
    return FixedPoint(state, found.iterations, found.residual)
