"""Image files of one size and type, with a class or value each.

An image may have several pages (a TIFF stack); then it is a volume of (pages, height, width).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.class_folders import LabeledFiles, LabeledFolder
from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.file_per_sample import first_faults, map_in_threads
from hpc_dl.data.packing.pillow_images import GRAY, check_range, has_deep_colors, opened
from hpc_dl.data.packing.source import PackOptions, Values, require
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

_DEEP = {mode for mode, dtype in GRAY.items() if dtype is not np.uint8}
# How a camera was held: the orientation of EXIF, and what of Pillow makes the image upright.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class _Header:
    """Size and mode of an image according to its header, or why it cannot be read."""

    path: Path
    size: tuple[int, int] = (0, 0)  #: height, width
    mode: str = ""
    pages: int = 1
    is_turned: bool = False  #: whether it is not stored upright
    maxval: int = 0  #: of a gray PNM file that need not use all values of its type
    fault: Fault | None = None


class ImageFolder(LabeledFolder):
    """Images of one size; shape and type are determined from the headers of all images."""

    def __init__(self, path: Path, found: LabeledFiles, options: PackOptions) -> None:
        self._pillow = require("PIL.Image", "Pillow", str(path))
        self._size = options.size
        headers = self._headers(found.files)
        self._mode, (height, width) = headers[0].mode, self._size or headers[0].size
        self._pages = headers[0].pages
        modes = Counter(header.mode for header in headers)
        if len(modes) > 1 and (deep := [header for header in headers if header.mode in _DEEP]):
            # Pillow cuts their values at 255 when it converts them to RGB.
            raise DataError.at(
                path, "has images of different depths",
                value=shortened([f"{mode}: {count}x" for mode, count in modes.most_common()]),
                allowed=f"one mode of Pillow, for example {deep[0].mode} as in {deep[0].path.name}",
                remedy="convert them to one type first",
            )  # fmt: skip
        if len(modes) > 1 or self._mode not in GRAY:
            self._mode = "RGB"
        if options.trained_on and options.trained_on.inputs.shape[0] == 3 and self._mode not in _DEEP:
            self._mode = "RGB"
        channels = 1 if self._mode in GRAY else 3
        shape = (channels, *([self._pages] if self._pages > 1 else []), height, width)
        inputs = Values(shape, np.dtype(GRAY.get(self._mode, np.uint8)))
        super().__init__(path, "image folder", inputs, found, options.trained_on)
        if self._mode == "RGB" and set(modes) != {"RGB"}:
            counts = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
            self.notes.append(f"all images are converted to RGB (modes in Pillow: {counts}); transparency is dropped")
        if self._mode != "RGB" and len(ranges := {header.maxval for header in headers}) > 1:
            largest = ", ".join(str(value or "full range") for value in sorted(ranges))
            self.notes.append(f"values are stored as in the files, whose largest possible ones differ: {largest}")
        if turned := sum(header.is_turned for header in headers):
            self.notes.append(f"{turned:,} of {len(headers):,} images are turned upright, as their EXIF data say")
        if self._size:
            resized = sum(header.size != self._size for header in headers)
            self.notes.append(
                f"{resized:,} of {len(headers):,} images are resized to {height}x{width} (bilinear, antialiased); "
                "their aspect ratio may change"
            )

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        try:
            with opened(self._pillow, path) as image:
                pages = []
                for page in range(self._pages):
                    image.seek(page)
                    pages.append(self._pixels(image))
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            raise DataError(_unreadable(path, error)) from None
        values = np.stack(pages, axis=1)  # (channels, pages, height, width)
        return values if self._pages > 1 else values[:, 0]

    def _pixels(self, image: Any) -> NDArray[Any]:
        """Return the pixels of one page, (channels, height, width)."""
        check_range(image)
        height, width = self.inputs.shape[-2:]
        if turn := _UPRIGHT.get(_orientation(image)):
            image = image.transpose(self._pillow.Transpose[turn])
        if self._mode == "RGB":
            # A palette with transparency keeps its colors only if converted to RGBA first.
            pixels = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
        else:
            pixels = image.convert("L") if image.mode == "1" else image
        if self._size and pixels.size != (width, height):
            pixels = self._resize(pixels, (width, height))
        values = np.asarray(pixels).astype(self.inputs.dtype, copy=False)
        if (values.ndim == 3) != (self._mode == "RGB"):
            raise ValueError(f"a page has the mode {image.mode} instead of {self._mode}; save all pages alike")
        if values.shape[:2] != (height, width):
            raise ValueError(f"a page has {values.shape[0]}x{values.shape[1]} pixels instead of {height}x{width}")
        return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)

    def _resize(self, image: Any, size: tuple[int, int]) -> Any:
        if image.mode in ("L", "RGB"):
            return image.resize(size, self._pillow.Resampling.BILINEAR)
        # Pillow resizes other types only as float images.
        values = self._pillow.fromarray(np.asarray(image).astype(np.float32))
        resized = np.asarray(values.resize(size, self._pillow.Resampling.BILINEAR))
        return resized if image.mode == "F" else np.rint(resized)

    def _headers(self, files: Sequence[Path]) -> list[_Header]:
        """Read and check the headers of all images, before hours of work instead of after."""
        headers = list(map_in_threads(self._header, files))
        faults = [header.fault for header in headers if header.fault]
        if faults:
            raise first_faults(faults)
        pages = Counter(header.pages for header in headers).most_common(1)[0][0]
        faults = [
            Fault(str(header.path), f"contains {header.pages} images", remedy="save each as a separate file")
            if header.pages > 1
            else Fault(str(header.path), "contains one image", allowed=f"{pages} pages, as the others have",
                       remedy="remove it, or add its pages")
            for header in headers
            if header.pages != pages
        ]  # fmt: skip
        if faults:
            raise first_faults(faults)
        if self._size is None:
            height, width = Counter(header.size for header in headers).most_common(1)[0][0]
            faults = [
                Fault(
                    str(header.path),
                    "differs in size from the other images",
                    value=f"{header.size[0]}x{header.size[1]}",
                    allowed=f"{height}x{width} (height x width)",
                    remedy="resize all images with `--size HEIGHTxWIDTH`",
                )
                for header in headers
                if header.size != (height, width)
            ]
            if faults:
                raise first_faults(faults)
        return headers

    def _header(self, path: Path) -> _Header:
        try:
            with opened(self._pillow, path) as image:
                if has_deep_colors(image):
                    return _Header(path, fault=Fault(
                        str(path), "has colors of 16 bits, which Pillow cuts to 8",
                        remedy="convert it to 8 bits (`magick FILE -depth 8 NEW`), or save arrays with NumPy",
                    ))  # fmt: skip
                pages = int(getattr(image, "n_frames", 1))
                orientation = _orientation(image)
                size = (image.width, image.height) if orientation in _SIDEWAYS else (image.height, image.width)
                turned = orientation in _UPRIGHT
                return _Header(path, size, image.mode, pages, turned, image.info.get("maxval", 0))
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            return _Header(path, fault=_unreadable(path, error))


def _orientation(image: Any) -> int:
    """Return the orientation of EXIF; Pillow itself applies that of a TIFF file."""
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata; the pixels are another matter
        return 1


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is an image that cannot be read: {error}", remedy="copy it again, or remove it")
