"""Many small images side by side in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.errors import ConfigError

_GAP = 2  # pixels between two images, before they are enlarged
_SMALLEST_SIDE = 600  # pixels of the picture, where the images have fewer
_BACKGROUND = 255


def image_grid(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Arrange images in rows, from left to right, on a white ground.

    Args:
        images: (N, C, H, W) with C of 1 or 3; the lowest of all values is shown as black, the
            highest as white.

    Returns:
        (height, width, C), about as wide as high, and enlarged by a whole number.
    """
    low, high = float(images.min()), float(images.max())
    shades = np.rint((images.astype(np.float32) - low) * (255 / (high - low or 1))).astype(np.uint8)
    number, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(number * height / width))
    rows = math.ceil(number / columns)
    grid = np.full((rows, columns, height + _GAP, width + _GAP, channels), _BACKGROUND, np.uint8)
    tiles = grid.reshape(rows * columns, height + _GAP, width + _GAP, channels)
    tiles[:number, :height, :width] = np.moveaxis(shades, 1, -1)
    picture = grid.swapaxes(1, 2).reshape(rows * (height + _GAP), columns * (width + _GAP), channels)
    picture = np.pad(picture, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_BACKGROUND)
    scale = math.ceil(_SMALLEST_SIDE / picture.shape[1])
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def save_png(picture: NDArray[np.uint8], path: Path, texts: Mapping[str, str]) -> None:
    """Write a picture (height, width, 1 or 3), with texts as its metadata.

    Raises:
        ConfigError: Pillow is not installed.
    """
    try:
        from PIL import Image, PngImagePlugin
    except ImportError:
        raise ConfigError.at("PNG", "needs Pillow", remedy="install it: pip install 'hpc_dl[pack]'") from None
    metadata = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        metadata.add_itxt(name, text)
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(path, "PNG", pnginfo=metadata)
