"""How strongly each input value affects the output (saliency; Simonyan et al., 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from hpc_dl.figures.inputs import no_pictures, show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_COUNT = 5


class Saliency(FigureKind):
    """Inputs above the size of the gradient of the predicted class's logit, or of the values."""

    def unfit(self, subject: Subject) -> str:
        """Whether the outputs are classes or values, and the inputs can be shown."""
        if reason := subject.no_outputs("classification", "multilabel", "regression"):
            return reason
        return no_pictures(subject.spec)

    def draw(self, subject: Subject) -> Figure:
        """Draw five samples; the largest gradient of each is white, or the highest bar."""
        example, network = subject.examples(_COUNT), subject.network
        x = example.x.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = network(x)
            if subject.spec.task == "regression":
                outputs.sum().backward()
            else:
                outputs.max(1).values.sum().backward()
        gradients = x.grad.abs().float().cpu().numpy()
        if gradients.ndim > 2:  # one value for each pixel or step: the largest over its channels
            gradients = gradients.max(1, keepdims=True)
        title = f"{subject.split_name.capitalize()}: inputs (above), size of the gradient (below)"
        figure, axes = panels(title, 2, len(x), height=3.3, images=True)
        stored = np.asarray(example.stored)
        for number in range(len(x)):
            show_sample(axes[number], stored[number])
            if subject.spec.task == "classification":
                name = subject.class_names[int(outputs[number].argmax())]
                axes[number].set_title(label(name, 12), fontsize=9)
            show_sample(axes[len(x) + number], gradients[number], (0.0, float(gradients[number].max()) or 1.0))
        return figure
