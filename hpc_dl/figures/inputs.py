"""Single samples as pictures: an image, the middle slice of a volume, the curves of a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hpc_dl.data.spec import DENSE, DataSpec
from hpc_dl.figures.style import COLORS, without_ticks

_MOST_CURVES = 6


def no_pictures(data: DataSpec) -> str:
    """Why samples of these data cannot be shown; empty if they can."""
    return "" if data.input_kind in DENSE else f"applies to inputs of one shape, not to {data.input_kind}"


def show_sample(axes: Axes, values: Any, limits: tuple[float, float] | None = None) -> None:
    """Draw one sample.

    Args:
        axes: where to.
        values: (F,), (C, T), (C, H, W) or (C, D, H, W), in any units.
        limits: the values that are black and white, or bottom and top; by default those of the
            sample.
    """
    array = np.asarray(values, dtype=np.float32)
    low, high = limits or (float(np.nanmin(array)), float(np.nanmax(array)))
    if array.ndim == 1:
        axes.bar(np.arange(len(array)), array, color=COLORS[0], width=1.0)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    elif array.ndim == 2:
        for channel in array[:_MOST_CURVES]:
            axes.plot(channel, linewidth=1)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    else:
        axes.imshow(as_image(array, low, high), cmap="gray", vmin=0, vmax=1)
        without_ticks(axes)


def as_image(array: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Return an image (C, H, W), or the middle slice of a volume, as (H, W) or (H, W, 3) in [0, 1].

    Images of three channels are shown in color, of others the first channel.
    """
    if array.ndim == 4:
        array = array[:, array.shape[1] // 2]
    scaled = ((array - low) / (high - low or 1)).clip(0, 1)
    return scaled.transpose(1, 2, 0) if len(array) == 3 else scaled[0]
