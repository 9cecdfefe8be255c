"""The activation functions and their derivatives: ``hpc-dl models --activations``."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from hpc_dl.figures.style import COLORS, panels
from hpc_dl.nn.activations import ACTIVATIONS, activation, pieces

_COLUMNS = 4
_RANGE = 4.0


def shown_names() -> list[str]:
    """The names of the activations of one number; maxout takes several."""
    return [name for name in ACTIVATIONS if pieces(name) == 1]


def curves(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x, the activation and its derivative, each (points,), with initial parameters."""
    module = activation(name, 1).eval()
    # No point at 0, where some derivatives jump.
    x = torch.linspace(-_RANGE, _RANGE, 400, requires_grad=True)
    with torch.enable_grad():
        y = module(x[:, None])[:, 0]
        (slope,) = torch.autograd.grad(y.sum(), x)
    return x.detach(), y.detach(), slope


def draw_activations(figure_title: str = "Activation functions and their derivatives") -> Figure:
    """Draw a panel for each activation."""
    names = shown_names()
    rows = -(-len(names) // _COLUMNS)
    figure, axes = panels(figure_title, rows, _COLUMNS, height=1.5 * rows + 0.8, sharex=True, sharey=True)
    for ax, name in zip(axes, names, strict=False):
        x, y, slope = curves(name)
        ax.plot(x, y, color=COLORS[0], label="value")
        ax.plot(x, slope, color=COLORS[1], linestyle="--", label="derivative")
        ax.set_title(name, fontsize=9)
        ax.set(xlim=(-_RANGE, _RANGE), ylim=(-2, 4))
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for ax in axes[len(names) - _COLUMNS : len(names)]:
        ax.set_xlabel("x")
        ax.tick_params(labelbottom=True)
    axes[0].legend(fontsize=8, loc="upper left")
    return figure
