"""Images with a mask each, whose values or colors are classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.class_folders import LabeledFiles
from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.file_per_sample import map_in_threads
from hpc_dl.data.packing.image_folder import ImageFolder
from hpc_dl.data.packing.masks import number_values, values_of
from hpc_dl.data.packing.pillow_images import GRAY, class_numbers, opened
from hpc_dl.data.packing.source import PackOptions, Values
from hpc_dl.errors import DataError

_COLORS = ("RGB", "RGBA")
_GRAY_STEP = 0x010101  # from one gray to the next, as a color


class MaskedImages(ImageFolder):
    """Images with a mask each.

    Args:
        path: the folder.
        files: the images of each split.
        masks: the mask of each image.
        options: how to read the folder.
    """

    _step = 1  #: what colors are divided by

    def __init__(
        self, path: Path, files: Mapping[str, list[Path]], masks: Mapping[Path, Path], options: PackOptions
    ) -> None:
        if options.size:
            raise DataError.at("--size", "cannot resize masks", remedy="resize images and masks first")
        images = [file for members in files.values() for file in members]
        sizes = {split: len(members) for split, members in files.items()}
        self._masks = [masks[file] for file in images]
        found = LabeledFiles(images, np.empty(0, np.uint8), "segmentation", options.class_names, sizes, None, [])
        super().__init__(path, found, options)
        self.kind = "images with masks"
        self.files += [mask.absolute() for mask in self._masks]
        self._colored = any(map_in_threads(self._has_colors, self._masks))
        values = set().union(*map_in_threads(lambda mask: values_of(self._read_mask(mask)), self._masks))
        if self._colored and all(value % _GRAY_STEP == 0 for value in values):  # gray, saved as RGB
            self._colored, self._step = False, _GRAY_STEP
            values = {value // _GRAY_STEP for value in values}
        elif self._colored and options.classes != "remap":
            raise DataError.at(
                path,
                f"has masks with {len(values):,} colors instead of class numbers",
                remedy="make each color a class with `--classes remap`",
            )
        self._classes = number_values(values, options, str(path), "#{:06x}".format if self._colored else str)
        self.class_names = self._classes.names
        self.targets = Values(self.inputs.shape[1:], self._classes.dtype)
        self.notes += self._classes.notes

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        masks = np.stack(list(map_in_threads(self._read_mask, self._masks[start:stop])))
        return self._classes.apply(masks)

    def _has_colors(self, path: Path) -> bool:
        try:
            with opened(self._pillow, path) as image:
                return image.mode in _COLORS
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            raise _unreadable(path, error) from None

    def _read_mask(self, path: Path) -> NDArray[Any]:
        """Return the values of a mask, or its colors as 0xRRGGBB if any mask has colors."""
        shape = self.inputs.shape[1:]
        try:
            with opened(self._pillow, path) as image:
                if image.format == "JPEG":
                    raise DataError.at(
                        path,
                        "is a mask in JPEG, which changes its values",
                        remedy="save it as PNG; of two classes: `magick MASK.jpg -threshold 50% MASK.png`",
                    )
                if image.mode not in (*GRAY, *_COLORS, "P") or image.mode == "F":
                    raise DataError.at(
                        path,
                        "is a mask without class numbers or colors",
                        value=f"mode {image.mode}",
                        allowed="gray, a palette, or RGB with `--classes remap`",
                        remedy="save it as a PNG of 8 bits",
                    )
                if (num_pages := int(getattr(image, "n_frames", 1))) != self._pages:
                    raise DataError.at(
                        path, "has another number of pages than its image", value=num_pages, allowed=str(self._pages)
                    )
                pages = []
                for page in range(self._pages):
                    image.seek(page)
                    pages.append(self._values(image))
                mask = np.stack(pages) if self._pages > 1 else pages[0]
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            raise _unreadable(path, error) from None
        if mask.shape != shape:
            raise DataError.at(path, "differs in shape from its image", value=mask.shape, allowed=str(shape))
        return mask

    def _values(self, image: Any) -> NDArray[Any]:
        if not (self._colored or self._step > 1):
            return class_numbers(image)
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int64), -1, 0)
        colors: NDArray[np.int64] = (red << 16 | green << 8 | blue) // self._step
        return colors


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError.at(path, f"is a mask that cannot be read: {error}", remedy="copy it again, or remove it")
