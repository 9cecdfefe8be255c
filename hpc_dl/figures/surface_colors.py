"""The colors of predicted classes by input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.figures.style import class_colors


def surface_colors(outputs: NDArray[Any]) -> NDArray[Any]:
    """Colors (points, 3) of logits (points, K): the class's color, white where it is uncertain."""
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    size = probabilities.shape[1]
    certainty = ((probabilities.max(1) - 1 / size) / (1 - 1 / size))[:, None]
    colors = class_colors(size)[probabilities.argmax(1), :3]
    return np.asarray(1 - 0.6 * certainty * (1 - colors))
