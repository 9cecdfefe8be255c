"""A grid over the plane, or the line, of all inputs of a network with one or two features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

SIZE = 120  # points along each axis
_MARGIN = 0.1  # of the range of the data


@dataclass(frozen=True)
class Plane:
    """The inputs of a grid.

    Attributes:
        points: (size or size², features) float32, in the units of the data file.
        extent: left, right, bottom and top.
        size: number of points along each axis.
    """

    points: NDArray[np.float32]
    extent: tuple[float, float, float, float]
    size: int

    def outputs(self, subject: Subject) -> torch.Tensor:
        """The network's outputs for all points, (points, K)."""
        assert subject.batches is not None
        with torch.no_grad():
            x = subject.batches.preprocessings[0](torch.from_numpy(self.points).to(subject.device))
            outputs: torch.Tensor = subject.network(x.to(next(subject.network.parameters()).dtype))
        return outputs.float().cpu()

    def image(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arrange values of the points, (points, …), as rows from bottom to top."""
        return values.reshape(self.size, self.size, *values.shape[1:])


def no_plane(subject: Subject) -> str:
    """Why the inputs do not have one or two features; empty if they do."""
    if reason := subject.no_outputs("classification", "regression"):
        return reason
    shape = subject.spec.input_shape
    if subject.spec.input_kind != "vector" or shape[0] > 2:
        return f"applies to inputs of one or two features, not of shape {shape}"
    return "" if subject.spec.num_outputs <= 8 else "applies to at most 8 classes or values"


def plane(x: NDArray[Any], size: int = SIZE) -> Plane:
    """Return a grid that covers samples (N, 1 or 2) with a margin."""
    low, high = np.nanmin(x, 0), np.nanmax(x, 0)
    margin = _MARGIN * np.maximum(high - low, 1e-6)
    sides = [np.linspace(*ends, size) for ends in zip(low - margin, high + margin, strict=True)]
    points = np.stack(np.meshgrid(*sides), -1).reshape(-1, len(sides)).astype(np.float32)
    last = sides[-1]
    return Plane(points, (float(sides[0][0]), float(sides[0][-1]), float(last[0]), float(last[-1])), size)
