"""Norm of the loss gradient by layer, from input to output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import COLORS, label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_SAMPLES = 64
_MOST_LAYERS = 30
_WIDE_RANGE = 30  # from the smallest to the largest norm, from which on the axis is logarithmic


class Gradients(FigureKind):
    """Bars of the gradient's norm over that of the weights, which show where gradients vanish."""

    def unfit(self, subject: Subject) -> str:
        """Whether the model has one loss, and weights that are trained."""
        return subject.no_loss()

    def draw(self, subject: Subject) -> Figure:
        """Draw a bar for each layer with weights, at the best weights of the run."""
        norms = relative_norms(subject)
        names = list(norms)[:_MOST_LAYERS]
        count = min(_SAMPLES, subject.spec.sizes[subject.split])
        title = f"Gradient of the loss of {count} {subject.split_name} samples, by layer"
        figure, (ax,) = panels(title, height=1.4 + 0.24 * len(names))
        values = [norms[name] for name in names]
        ax.barh(range(len(names)), values, color=COLORS[0])
        ax.set_yticks(range(len(names)), [label(name, 28) for name in names], fontsize=9)
        ax.invert_yaxis()
        if max(values) > _WIDE_RANGE * min(values) > 0:
            ax.set_xscale("log")
            ax.set_xlim(min(values) / 3)
        ax.set_xlabel("norm of the gradient / norm of the weights")
        ax.grid(False, axis="y")
        return figure


def relative_norms(subject: Subject) -> dict[str, float]:
    """The norm of the gradient over that of the weights, by layer in the order of the model."""
    model, task = subject.network, subject.network.recipe.task
    example = subject.examples(_SAMPLES)
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        task.loss(model.outputs_for(example.x, example.y), example.y).backward()  # type: ignore[no-untyped-call]
    norms = {
        name.rpartition(".")[0] or name: float(weight.grad.norm() / weight.detach().norm().clamp(min=1e-12))
        for name, weight in model.named_parameters()
        if weight.grad is not None and weight.ndim > 1
    }
    model.zero_grad(set_to_none=True)
    return norms
