"""How fast the states of a fixed-point network converge: the residual by iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, panels
from hpc_dl.nn.fixed_point import solve
from hpc_dl.nn.graphs import Graphs

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_GRAPHS = 8


class Convergence(FigureKind):
    """The largest change of a state in each iteration, for some graphs, and the tolerance."""

    def unfit(self, subject: Subject) -> str:
        """Whether the states are the fixed point of a transition."""
        if reason := subject.no_outputs():
            return reason
        return "" if hasattr(subject.model, "transition") else "needs the architecture fixed_point"

    def draw(self, subject: Subject) -> Figure:
        """Draw the residuals, next to a line with the slope of the contraction."""
        model: Any = subject.model
        config = model.config
        residuals = residuals_by_iteration(subject)
        figure, (ax,) = panels(f"Convergence of the states, {subject.split_name} graphs")
        numbers = range(1, len(residuals) + 1)
        ax.plot(numbers, residuals, color=COLORS[0], marker="o", markersize=4, label="largest change / largest state")
        bound = [residuals[0] * config.contraction**k for k in range(len(residuals))]
        ax.plot(
            numbers, bound, color=COLORS[1], linestyle="--", label=f"contraction {config.contraction:g} per iteration"
        )
        ax.axhline(
            config.tolerance, color="#7F7F7F", linewidth=1, linestyle=":", label=f"tolerance {config.tolerance:g}"
        )
        ax.set_yscale("log")
        ax.set(xlabel="iteration", ylabel="residual")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="white")  # above the line of the tolerance
        return figure


def residuals_by_iteration(subject: Subject) -> list[float]:
    """The residual after each iteration from zero states, until the model's tolerance."""
    model: Any = subject.model
    config, example = model.config, subject.examples(_GRAPHS)
    graphs = Graphs.of(example.x)
    found: list[float] = []
    with torch.no_grad():
        function = model.transition(graphs)
        state = graphs.nodes.new_zeros(graphs.num_nodes, config.width)
        while len(found) < config.max_iterations and (not found or found[-1] > config.tolerance):
            step = solve(function, state, config.tolerance, 1)
            state = step.state
            found.append(step.residual)
    return found
