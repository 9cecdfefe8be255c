"""How Pillow reads image files, so that values are those of the file, or the file is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pillow's modes with one channel that are stored unchanged. All others are converted to RGB.
GRAY = {"1": np.uint8, "L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
_SAMPLE_FORMAT, _SIGNED = 339, 2  # a tag of TIFF and its value for signed integers
_STEPS = {"L;2": 255 // 3, "L;4": 255 // 15}  # by which Pillow multiplies pixels of 2 and 4 bits


@contextmanager
def opened(pillow: ModuleType, path: Path) -> Iterator[Any]:
    """Open an image without a memory map, with which Pillow 13 scrambles turned TIFF files.

    Gray PNM files are read without scaling from their largest value (``maxval``, 4095 for 12 bits)
    to Pillow's own; ``image.info`` has it.
    """
    with pillow.open(path) as image:
        image.filename = ""
        if image.mode in ("L", "I") and image.tile[0].codec_name.startswith("ppm"):
            kind, image.info["maxval"] = image.tile[0].args
            image.tile = [image.tile[0]._replace(args=(kind, 255 if image.mode == "L" else 65535))]
        yield image


def check_range(image: Any) -> None:
    """Check that Pillow's type holds the integers of a TIFF file, which has more types.

    Raises:
        ValueError: it does not, and Pillow would replace some values by others.
    """
    if image.format != "TIFF" or image.mode not in ("L", "I"):
        return
    lowest, highest = image.getextrema()
    signed = image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    if image.mode == "I" and not signed and lowest < 0:
        raise ValueError("it has integers above 2147483647; save them as 16 bits, or as floats of 32 bits")
    if image.mode == "L" and signed and highest > 127:
        raise ValueError("it has negative integers of 8 bits, which Pillow reads as positive ones; save 16 bits")


def class_numbers(image: Any) -> NDArray[np.int64]:
    """Return the pixels of a gray image or the palette's numbers, as the file stores them."""
    rawmode = next((tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile), "")
    check_range(image)
    numbers: NDArray[np.int64] = np.asarray(image).astype(np.int64) // _STEPS.get(str(rawmode), 1)
    return numbers


def has_deep_colors(image: Any) -> bool:
    """Whether an image has several channels of more than 8 bits, by how Pillow decodes it."""
    if image.mode in GRAY:
        return False
    for tile in image.tile:
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(";16" in str(argument) for argument in arguments):
            return True
        if tile[0].startswith("ppm") and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return True
    return False
