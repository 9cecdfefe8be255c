"""Augmentation of whole batches of images and volumes, on the device: the ``data.augmentation``
section.

Each sample gets a transformation of its own. What is drawn comes from torch's generators of the
process, whose states are in every checkpoint: an interrupted training sees the same images as one
that was not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.config import Augmentation


def augment(how: Augmentation, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Change a batch.

    Args:
        how: the ``data.augmentation`` section.
        x: (B, C, H, W) or (B, C, D, H, W), float, scaled.
        labels: (B, H, W) or (B, D, H, W) class of each pixel, moved along with it; None where there
            are none.

    Returns:
        Both, of the same shapes. Pixels from beyond the edge are those of the edge.
    """
    num_axes = x.ndim - 2
    if how.shift or how.scale or how.rotate or how.shear:
        grid = functional.affine_grid(_matrices(how, x.shape).to(x), list(x.shape), align_corners=False)
        x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if labels is not None:
            moved = functional.grid_sample(
                labels[:, None].to(x.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
            )
            labels = moved[:, 0].round().to(labels.dtype)
    for axis in how.mirror:
        chosen = (torch.rand(len(x)) < 0.5).to(x.device)
        x = torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), x.flip(axis), x)
        if labels is not None:
            labels = torch.where(chosen.reshape(-1, *[1] * num_axes), labels.flip(axis), labels)
    return _values(how, x), labels


def _values(how: Augmentation, x: Tensor) -> Tensor:
    one_each = (len(x), *[1] * (x.ndim - 1))
    if how.contrast:
        mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        x = mean + (x - mean) * (1 + _within(how.contrast, *one_each).to(x))
    if how.brightness:
        x = x + _within(how.brightness, *one_each).to(x)
    if how.noise:
        # Drawn where the batch is: the generator of that device is in the checkpoint, too.
        x = x + how.noise * torch.randn_like(x)
    return x


def _matrices(how: Augmentation, shape: torch.Size) -> Tensor:
    """Affine transformations (B, axes, axes + 1) of the coordinates -1 to 1, the last axis first."""
    count, num_axes = shape[0], len(shape) - 2
    matrix = torch.eye(num_axes).repeat(count, 1, 1)
    if how.scale:
        matrix = matrix / (1 + _within(how.scale, count, 1, 1))
    if how.shear:
        sheared = _within(how.shear, count, num_axes, num_axes) * (1 - torch.eye(num_axes))
        matrix = matrix @ (torch.eye(num_axes) + sheared.triu())
    if how.rotate:
        planes = [(a, b) for a in range(num_axes) for b in range(a + 1, num_axes)]
        for a, b in planes:
            angle = _within(math.radians(how.rotate), count)
            turn = torch.eye(num_axes).repeat(count, 1, 1)
            turn[:, a, a] = turn[:, b, b] = angle.cos()
            turn[:, a, b], turn[:, b, a] = -angle.sin(), angle.sin()
            matrix = matrix @ turn
    # A turn is one of pixels: where the sides differ, -1 to 1 are not as long along both.
    sizes = torch.tensor(shape[:1:-1], dtype=torch.float32)
    matrix = matrix * sizes / sizes[:, None]
    return torch.cat([matrix, 2 * _within(how.shift, count, num_axes, 1)], dim=2)


def _within(most: float, *shape: int) -> Tensor:
    """Uniform numbers from ``-most`` to ``most``."""
    return (2 * torch.rand(shape) - 1) * most
