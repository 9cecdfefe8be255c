"""Principal axes of points, to show them in the plane (Pearson, 1901)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PrincipalAxes(NamedTuple):
    """The directions of the largest variance.

    Attributes:
        mean: (F,) of the points.
        axes: (k, F) orthonormal; the entry of each that is largest in size is positive.
        shares: (k,) of the total variance.
    """

    mean: NDArray[Any]
    axes: NDArray[Any]
    shares: NDArray[Any]

    def project(self, points: NDArray[Any]) -> NDArray[Any]:
        """Map points (N, F) to their coordinates (N, k)."""
        coordinates: NDArray[Any] = (points - self.mean) @ self.axes.T
        return coordinates


def principal_axes(points: NDArray[Any], count: int) -> PrincipalAxes:
    """Return the first principal axes of points (N, F); fewer where there are fewer dimensions."""
    mean = points.mean(0)
    _, scales, axes = np.linalg.svd(points - mean, full_matrices=False)
    axes = axes[:count]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    variances = scales**2
    return PrincipalAxes(mean, axes * signs[:, None], variances[:count] / max(variances.sum(), 1e-30))
