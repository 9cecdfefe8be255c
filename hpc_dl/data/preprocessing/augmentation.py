"""Augmentation of batches of images and volumes on the device: the ``data.augmentation`` section.

Each sample gets a separate random transformation. Random numbers come from the process's torch
generators, whose states are in every checkpoint: a resumed training run sees the same images as an
uninterrupted one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.config import Augmentation


def augment(config: Augmentation, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Augment a batch.

    Args:
        config: the ``data.augmentation`` section.
        x: (B, C, H, W) or (B, C, D, H, W), float, scaled.
        labels: (B, H, W) or (B, D, H, W) class of each pixel, which moves with it; None if there
            are none.

    Returns:
        Both, in the same shapes. Pixels from beyond the edge repeat the edge.
    """
    num_axes = x.ndim - 2
    if config.shift or config.scale or config.rotate or config.shear or config.elastic:
        grid = functional.affine_grid(_matrices(config, x.shape).to(x), list(x.shape), align_corners=False)
        if config.elastic:
            grid = grid + _elastic_shifts(config, x.shape, x.device).to(x)
        x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if labels is not None:
            moved = functional.grid_sample(
                labels[:, None].to(x.dtype), grid, mode="nearest", padding_mode="border", align_corners=False
            )
            labels = moved[:, 0].round().to(labels.dtype)
    for axis in config.mirror:
        chosen = (torch.rand(len(x)) < 0.5).to(x.device)
        x = torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), x.flip(axis), x)
        if labels is not None:
            labels = torch.where(chosen.reshape(-1, *[1] * num_axes), labels.flip(axis), labels)
    return _change_values(config, x), labels


def _change_values(config: Augmentation, x: Tensor) -> Tensor:
    one_each = (len(x), *[1] * (x.ndim - 1))
    if config.contrast:
        mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True)
        x = mean + (x - mean) * (1 + _uniform(config.contrast, *one_each).to(x))
    if config.brightness:
        x = x + _uniform(config.brightness, *one_each).to(x)
    if config.noise:
        # Drawn on the device of the batch, whose generator is in the checkpoint, too.
        x = x + config.noise * torch.randn_like(x)
    if config.occlude:
        x = torch.where(
            _boxes(config.occlude, x.shape).to(x.device), x.mean(dim=tuple(range(1, x.ndim)), keepdim=True), x
        )
    return x


def _elastic_shifts(config: Augmentation, shape: torch.Size, device: torch.device) -> Tensor:
    """Return smooth random shifts (B, *sizes, axes) of coordinates -1 to 1, last axis first.

    P. Simard, D. Steinkraus and J. Platt, Best Practices for Convolutional Neural Networks, ICDAR
    2003: independent uniform numbers, smoothed with a Gaussian.
    """
    count, sizes = shape[0], shape[2:]
    num_axes = len(sizes)
    field = _uniform(1.0, count, num_axes, *sizes).to(device)  # where smoothing is fast
    radius = math.ceil(3 * config.elastic_smoothness)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets / config.elastic_smoothness) ** 2)
    for axis, size in enumerate(sizes):
        # The field goes around the edges, so that its variance is the same everywhere.
        places = (torch.arange(size)[:, None] + offsets) % size
        smoothing = torch.zeros(size, size).scatter_add_(1, places, weights.expand(size, -1))
        smoothing /= smoothing.norm(dim=1, keepdim=True)  # keeps the variance, 1/3
        field = torch.tensordot(field, smoothing.to(device), dims=([2 + axis], [1])).movedim(-1, 2 + axis)
    pixels = config.elastic * math.sqrt(3) * field
    in_units = 2 / torch.tensor(sizes, dtype=torch.float32, device=device).reshape(1, num_axes, *[1] * num_axes)
    return (pixels * in_units).flip(1).movedim(1, -1)


def _boxes(fraction: float, shape: torch.Size) -> Tensor:
    """Return (B, 1, *sizes): True in a box around a random center."""
    count, sizes = shape[0], shape[2:]
    inside = torch.ones(count, 1, *[1] * len(sizes), dtype=torch.bool)
    for axis, size in enumerate(sizes):
        side = max(1, round(fraction * size))
        start = torch.randint(size, (count, 1)) - side // 2
        places = torch.arange(size)
        along = (places >= start) & (places < start + side)
        inside = inside & along.reshape(count, 1, *[size if other == axis else 1 for other in range(len(sizes))])
    return inside


def _matrices(config: Augmentation, shape: torch.Size) -> Tensor:
    """Return affine transformations (B, axes, axes + 1) of coordinates -1 to 1, last axis first."""
    count, num_axes = shape[0], len(shape) - 2
    matrix = torch.eye(num_axes).repeat(count, 1, 1)
    if config.scale:
        matrix = matrix / (1 + _uniform(config.scale, count, 1, 1))
    if config.shear:
        sheared = _uniform(config.shear, count, num_axes, num_axes) * (1 - torch.eye(num_axes))
        matrix = matrix @ (torch.eye(num_axes) + sheared.triu())
    if config.rotate:
        planes = [(a, b) for a in range(num_axes) for b in range(a + 1, num_axes)]
        for a, b in planes:
            angle = _uniform(math.radians(config.rotate), count)
            rotation = torch.eye(num_axes).repeat(count, 1, 1)
            rotation[:, a, a] = rotation[:, b, b] = angle.cos()
            rotation[:, a, b], rotation[:, b, a] = -angle.sin(), angle.sin()
            matrix = matrix @ rotation
    # Rotate in units of pixels: if the sides differ, -1 to 1 is a different length along each.
    sizes = torch.tensor(shape[:1:-1], dtype=torch.float32)
    matrix = matrix * sizes / sizes[:, None]
    return torch.cat([matrix, 2 * _uniform(config.shift, count, num_axes, 1)], dim=2)


def _uniform(limit: float, *shape: int) -> Tensor:
    """Return uniform random numbers from ``-limit`` to ``limit``."""
    return (2 * torch.rand(shape) - 1) * limit
