"""Principal components (Pearson, 1901) and whitening, fitted on the training split."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpc_dl.data.config import ProjectionMethod

# A direction in which the data hardly vary must not be scaled up to unit variance: it is rounding
# noise.
_MIN_SHARE = 1e-10


@dataclass(frozen=True, eq=False)
class Projection:
    """The projection ``(x - mean) @ matrix`` of all values of a sample.

    Attributes:
        method: ``pca`` only rotates the axes, ``whiten`` also makes the covariance the identity,
            ``zca`` then rotates back.
        mean: (F,) float32.
        matrix: (F, components) float32, the component of the greatest variance first; (F, F) for
            ``zca``.
    """

    method: str
    mean: Tensor
    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Project (B, …) with F values each to (B, components); ``zca`` keeps the shape."""
        mean, matrix = _on_device(self, x.device)
        projected = (x.flatten(1) - mean) @ matrix
        return projected.reshape(x.shape) if self.method == "zca" else projected

    def state_dict(self) -> dict[str, Any]:
        """Return the values for a checkpoint."""
        return {"method": self.method, "mean": self.mean, "matrix": self.matrix}


@functools.lru_cache(maxsize=16)
def _on_device(projection: Projection, device: torch.device) -> tuple[Tensor, Tensor]:
    return projection.mean.to(device), projection.matrix.to(device)


def fit_projection(
    blocks: Iterable[Tensor], method: ProjectionMethod, components: int | None, epsilon: float = 0.0
) -> Projection:
    """Fit principal components, the eigenvectors of the covariance, in one pass.

    Args:
        blocks: (B, …) scaled values of the training split, F for each sample.
        method: ``pca``, ``whiten`` or ``zca``.
        components: number of components; all F if None.
        epsilon: share of the mean variance that whitening adds to each variance.
    """
    shift: Tensor | None = None
    count = 0
    total = products = torch.zeros(())
    for block in blocks:
        values = block.flatten(1).to(torch.float64)
        if shift is None:  # sums of deviations from about the mean keep their digits
            shift = values.mean(0)
        values = values - shift
        count += len(values)
        total = total + values.sum(0)
        products = products + values.T @ values
    assert shift is not None  # a split is never empty
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    variances, vectors = variances.flip(0), vectors.flip(1)
    # The sign of a component is arbitrary. Its largest entry is made positive, so that every fit
    # gives the same result.
    largest = vectors.abs().argmax(0)
    vectors = vectors * vectors[largest, torch.arange(len(largest))].sign()
    matrix = vectors = vectors[:, :components]
    if method != "pca":
        variances = variances[:components].clamp_min(0)
        varying = variances > _MIN_SHARE * variances[0].clamp_min(torch.finfo(torch.float64).tiny)
        regular = variances + epsilon * variances.sum() / len(vectors)
        matrix = vectors * torch.where(varying, regular.rsqrt(), 0.0)
    if method == "zca":
        matrix = matrix @ vectors.T
    return Projection(method, (shift + mean).float(), matrix.float().contiguous())
