"""The worst mistakes: samples that the model most confidently assigned to a wrong class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hpc_dl.figures.inputs import no_pictures, show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.observations import read
from hpc_dl.figures.style import label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_COLUMNS = 5
_ROWS = 2


class Mistakes(FigureKind):
    """Inputs in the order of the loss, with true class, predicted class and its probability."""

    at_end = 4

    def unfit(self, subject: Subject) -> str:
        """Whether there are probabilities of classes, and inputs that can be shown."""
        if reason := subject.no_outputs("classification") or subject.no_probabilities():
            return reason
        if subject.spec.input_shape == (2,):
            return "applies to inputs of more than two features; see decision_surface"
        return no_pictures(subject.spec)

    def draw(self, subject: Subject) -> Figure:
        """Draw up to ten mistakes; where there are fewer, the least certain correct samples."""
        observed = subject.observations
        known = (observed.targets >= 0).numpy()
        probabilities, classes = observed.probabilities()
        numbers = observed.samples[known]
        predicted = probabilities.argmax(1)
        of_true = probabilities[np.arange(len(classes)), classes]
        order = np.lexsort((of_true, predicted == classes))[: _ROWS * _COLUMNS]
        wrong = int((predicted != classes).sum())
        title = (
            f"{subject.split_name.capitalize()}: {wrong:,} of {len(classes):,} samples wrong; true → predicted class"
        )
        figure, axes = panels(title, _ROWS, _COLUMNS, height=4.4, images=True)
        stored = read(subject, np.sort(numbers[order])).stored
        positions = np.argsort(np.argsort(numbers[order]))
        for ax, index, position in zip(axes, order, positions, strict=False):
            show_sample(ax, stored[int(position)])
            names = [label(subject.class_names[int(c)], 9) for c in (classes[index], predicted[index])]
            correct = classes[index] == predicted[index]
            text = f"{names[0]}, correct" if correct else f"{names[0]} → {names[1]}"
            ax.set_title(f"{text}\np = {probabilities[index, predicted[index]]:.2f}", fontsize=9)
        return figure
