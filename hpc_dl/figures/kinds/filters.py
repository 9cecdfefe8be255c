"""The weights of the first layer, as the patterns that its units respond to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpc_dl.figures.inputs import no_pictures, show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import DIVERGING, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_COLUMNS = 8
_MOST = 32


class Filters(FigureKind):
    """One picture for each unit or feature map, all with the same range around zero."""

    def unfit(self, subject: Subject) -> str:
        """Whether the inputs can be shown and the first layer is convolutional or dense."""
        if subject.data is None:
            return "needs data whose shape hpc_dl knows"
        if subject.spec.task == "generation":
            return "applies to networks that read samples"
        if reason := no_pictures(subject.spec):
            return reason
        return "" if _first_weights(subject) is not None else "needs a first layer that is convolutional or dense"

    def draw(self, subject: Subject) -> Figure:
        """Draw up to 32 filters; three input channels are colors, of others the first is shown."""
        weights = _first_weights(subject)
        assert weights is not None
        shown = weights[:_MOST]
        limit = float(np.abs(shown).max()) or 1.0
        columns = min(_COLUMNS, len(shown))
        rows = math.ceil(len(shown) / columns)
        shape = " × ".join(map(str, weights.shape[1:]))
        title = f"First layer: {len(shown)} of {len(weights)} filters of {shape}, weights within ±{limit:.2g}"
        if weights.ndim == 2:
            figure, (ax,) = panels(title)
            image = ax.imshow(shown, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            ax.grid(False)
            ax.set(xlabel="input feature", ylabel="unit")
            figure.colorbar(image, ax=ax, label="weight")
            return figure
        figure, axes = panels(title, rows, columns, height=0.9 * rows + 0.6, images=True)
        for ax, filter_weights in zip(axes, shown, strict=False):
            if filter_weights.ndim < 3 or len(filter_weights) == 3:
                show_sample(ax, filter_weights, (-limit, limit))
                if filter_weights.ndim < 3:
                    ax.set_ylim(-limit, limit)
            else:
                flat = (
                    filter_weights[0] if filter_weights.ndim == 3 else filter_weights[0, filter_weights.shape[1] // 2]
                )
                ax.imshow(flat, cmap=DIVERGING, vmin=-limit, vmax=limit)
        return figure


def _first_weights(subject: Subject) -> NDArray[Any] | None:
    """The weights of the first layer, (units, *shape of an input or of a kernel)."""
    from torch import nn

    assert subject.model is not None
    shape = subject.spec.input_shape
    for module in subject.model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return np.asarray(module.weight.detach().float().cpu().numpy())
        if isinstance(module, nn.Linear):
            if module.in_features != math.prod(shape):
                return None
            return np.asarray(module.weight.detach().float().cpu().numpy().reshape(-1, *shape))
    return None
