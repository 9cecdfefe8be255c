"""Inputs and their reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from hpc_dl.figures.inputs import show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_COUNT = 6


class Reconstructions(FigureKind):
    """Inputs above what the network makes of them, with the mean square error of each."""

    at_end = 2

    def unfit(self, subject: Subject) -> str:
        """Whether the task is a reconstruction."""
        return subject.no_outputs("reconstruction")

    def draw(self, subject: Subject) -> Figure:
        """Draw six samples in scaled units, as the loss compares them."""
        examples, network = subject.examples(_COUNT), subject.network
        with torch.no_grad():
            outputs = network(examples.x)
        if network.recipe.task.config.name == "bce":
            outputs = outputs.sigmoid()
        inputs, outputs = examples.x.float().cpu().numpy(), outputs.float().cpu().numpy()
        title = f"{subject.split_name.capitalize()}: inputs (above) and reconstructions (below)"
        figure, axes = panels(title, 2, len(inputs), height=2.9, images=True)
        for number, (original, output) in enumerate(zip(inputs, outputs, strict=True)):
            limits = float(original.min()), float(original.max())
            show_sample(axes[number], original, limits)
            show_sample(axes[len(inputs) + number], output, limits)
            axes[len(inputs) + number].set_title(f"MSE {np.mean((original - output) ** 2):.3g}", fontsize=9)
        return figure
