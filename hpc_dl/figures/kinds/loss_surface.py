"""The loss around the trained weights, in two random directions (Li et al., 2018)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import SEQUENTIAL, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

SIZE = 17  # points along each axis, odd: the one in the middle is the trained network
_REACH = 1.0
_SAMPLES = 256
_SECONDS = 20.0


class LossSurface(FigureKind):
    """Contours of the loss where every filter is moved by up to its own norm."""

    def unfit(self, subject: Subject) -> str:
        """Whether the model has one loss, and weights that are trained."""
        return subject.no_loss()

    def draw(self, subject: Subject) -> Figure:
        """Draw the surface; a cross marks the trained weights."""
        losses, count = loss_surface(subject)
        sides = np.linspace(-_REACH, _REACH, SIZE)
        title = f"Loss of {count} {subject.split_name} samples around the trained weights"
        figure, (ax,) = panels(title, height=4.8)
        finite = np.where(np.isfinite(losses), losses, np.nanmax(np.where(np.isfinite(losses), losses, np.nan)))
        low, high = float(finite.min()), float(finite.max())
        wide = low > 0 and high > 20 * low
        levels = np.geomspace(low, high, 14) if wide else np.linspace(low, high, 14)
        if high > low:
            filled = ax.contourf(sides, sides, finite, levels=levels, cmap=SEQUENTIAL, norm="log" if wide else None)
            ax.contour(sides, sides, finite, levels=levels, colors="white", linewidths=0.4)
            figure.colorbar(filled, ax=ax, label="loss", format="%.3g")
        ax.plot(0, 0, marker="P", color="#D55E00", markersize=9, markeredgecolor="white")
        ax.grid(False)
        ax.set(xlabel="direction 1 (in norms of the filters)", ylabel="direction 2 (in norms of the filters)")
        return figure


def loss_surface(subject: Subject) -> tuple[NDArray[Any], int]:
    """Return the losses (SIZE, SIZE), row by row along the second direction, and the samples used.

    The directions are random with seed 0; each filter has the norm of the filter in the weights,
    biases and normalizations do not move. Samples are as many as the time allows.
    """
    model, task = subject.network, subject.network.recipe.task
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    before = [weight.detach().clone() for weight in weights]
    directions = [_direction(before, seed) for seed in (0, 1)]
    example = subject.examples(_SAMPLES)
    count = min(_SAMPLES, subject.spec.sizes[subject.split])
    with torch.no_grad():
        started = time.monotonic()
        task.loss(model.outputs_for(example.x, example.y), example.y)
        share = _SECONDS / (SIZE * SIZE * max(1e-6, time.monotonic() - started))
        if share < 1:
            count = max(1, int(count * share))
            example = subject.examples(count)
        losses = np.zeros((SIZE, SIZE))
        sides = np.linspace(-_REACH, _REACH, SIZE)
        try:
            for (row, column), _ in np.ndenumerate(losses):
                for weight, start, *moves in zip(weights, before, *directions, strict=True):
                    weight.copy_(start + float(sides[column]) * moves[0] + float(sides[row]) * moves[1])
                losses[row, column] = float(task.loss(model.outputs_for(example.x, example.y), example.y))
        finally:
            for weight, start in zip(weights, before, strict=True):
                weight.copy_(start)
    return losses, count


def _direction(weights: list[Tensor], seed: int) -> list[Tensor]:
    """A random direction whose filters have the norms of those of the weights."""
    generator = torch.Generator().manual_seed(seed)
    moves = []
    for weight in weights:
        move = torch.randn(weight.shape, generator=generator).to(weight)
        norms = weight.flatten(1).norm(dim=1) / move.flatten(1).norm(dim=1).clamp(min=1e-12)
        moves.append(move * norms.view(-1, *[1] * (weight.ndim - 1)))
    return moves
