"""Reading brain volumes and cutting patches from them, shared by ``mni152`` and ``colin27``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples

_VOXELS_START = 352  # bytes of the NIfTI header


def voxels_of(content: bytes, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Return the voxels of an uncompressed NIfTI file of unscaled bytes.

    Args:
        content: the file; its layout is known, since its SHA-256 was checked.
        shape: left to right, back to front, bottom to top.
    """
    return np.frombuffer(content, np.uint8, offset=_VOXELS_START).reshape(shape, order="F")


def cut_patches(
    image: NDArray[Any], labels: NDArray[Any], corners: Iterable[tuple[int, ...]], shape: tuple[int, int, int]
) -> Samples:
    """Cut patches of one shape from an image and its labels.

    Args:
        image: (X, Y, Z) gray values.
        labels: (X, Y, Z) classes.
        corners: voxel where each patch starts.
        shape: of a patch.

    Returns:
        Inputs (N, 1, x, y, z) and targets (N, x, y, z).
    """
    boxes = [
        tuple(slice(start, start + length) for start, length in zip(corner, shape, strict=True)) for corner in corners
    ]
    return Samples(np.stack([image[box][None] for box in boxes]), np.stack([labels[box] for box in boxes]))
