"""Folders of images: one folder per class, a table of labels, or a mask for each image.

An image may have several pages (a TIFF stack); then it is a volume of (pages, height, width).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.class_folders import LabeledFiles, labeled_files
from hpc_dl.data.packing.classes import label_type
from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.file_per_sample import FilePerSample, files_below, first_faults, map_in_threads
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.label_table import is_table, stem_of
from hpc_dl.data.packing.source import PackOptions, Source, Values, check_type, require, split_folders
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")

# Pillow's modes with one channel that are stored unchanged. All others are converted to RGB.
_GRAY = {"1": np.uint8, "L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
_DEEP = {mode for mode, dtype in _GRAY.items() if dtype is not np.uint8}
_IMAGE_FOLDERS = ("images", "image", "imgs")
_MASK_FOLDERS = ("masks", "mask", "labels", "segmentations")


@dataclasses.dataclass(frozen=True)
class _Header:
    """Size and mode of an image according to its header, or why it cannot be read."""

    path: Path
    size: tuple[int, int] = (0, 0)  #: height, width
    mode: str = ""
    pages: int = 1
    fault: Fault | None = None


class ImageFolder(FilePerSample):
    """Images of one size; shape and type are determined from the headers of all images."""

    def __init__(self, path: Path, found: LabeledFiles, options: PackOptions) -> None:
        self._pillow = require("PIL.Image", "Pillow", str(path))
        self.samples, self._labels = found.files, found.labels
        self._size = options.size
        headers = self._headers()
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
        if len(modes) > 1 or self._mode not in _GRAY:
            self._mode = "RGB"
        if options.trained_on and options.trained_on.inputs.shape[0] == 3 and self._mode not in _DEEP:
            self._mode = "RGB"
        channels = 1 if self._mode in _GRAY else 3
        super().__init__(
            path=path,
            kind="image folder",
            inputs=Values(
                (channels, *([self._pages] if self._pages > 1 else []), height, width),
                np.dtype(_GRAY.get(self._mode, np.uint8)),
            ),
            targets=found.targets,
            sizes=found.sizes,
            has_splits=len(found.sizes) > 1,
            task=found.task,
            class_names=found.class_names,
            files=[*(file.absolute() for file in self.samples), *([found.table] if found.table else [])],
        )
        self.notes += found.notes
        check_type(self, options.trained_on)
        if self._mode == "RGB" and set(modes) != {"RGB"}:
            counts = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
            self.notes.append(f"all images are converted to RGB (modes in Pillow: {counts}); transparency is dropped")
        if self._size:
            resized = sum(header.size != self._size for header in headers)
            self.notes.append(
                f"{resized:,} of {len(headers):,} images are resized to {height}x{width} (bilinear, antialiased); "
                "their aspect ratio may change"
            )

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        try:
            with self._pillow.open(path) as image:
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
        height, width = self.inputs.shape[-2:]
        if self._mode == "RGB":
            # A palette with transparency keeps its colors only if converted to RGBA first.
            pixels = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
        else:
            pixels = image.convert("L") if image.mode == "1" else image
        if self._size and pixels.size != (width, height):
            pixels = self._resize(pixels, (width, height))
        values = np.asarray(pixels).astype(self.inputs.dtype, copy=False)
        if values.shape[:2] != (height, width):
            raise ValueError(f"a page has {values.shape[0]}x{values.shape[1]} pixels instead of {height}x{width}")
        return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        return self._labels[start:stop]

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._labels if self.task == "classification" else None

    def _resize(self, image: Any, size: tuple[int, int]) -> Any:
        if image.mode in ("L", "RGB"):
            return image.resize(size, self._pillow.Resampling.BILINEAR)
        # Pillow resizes other types only as float images.
        values = self._pillow.fromarray(np.asarray(image).astype(np.float32))
        resized = np.asarray(values.resize(size, self._pillow.Resampling.BILINEAR))
        return resized if image.mode == "F" else np.rint(resized)

    def _headers(self) -> list[_Header]:
        """Read and check the headers of all images, before hours of work instead of after."""
        headers = list(map_in_threads(self._header, self.samples))
        faults = [header.fault for header in headers if header.fault]
        if faults:
            raise first_faults(faults)
        pages = Counter(header.pages for header in headers).most_common(1)[0][0]
        faults = [
            Fault(str(header.path), f"contains {header.pages} images", remedy="save each one as a separate file")
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
            with self._pillow.open(path) as image:
                pages = int(getattr(image, "n_frames", 1))
                return _Header(path, (image.height, image.width), image.mode, pages)
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            return _Header(path, fault=_unreadable(path, error))


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is an image that cannot be read: {error}", remedy="copy it again, or remove it")


class MaskedImages(ImageFolder):
    """Images with a mask each, whose values are class numbers.

    Masks of 0 and 255 only, as drawing programs save them, have the classes 0 and 1.

    Args:
        path: the folder.
        files: the images of each split.
        masks: the mask of each image.
        options: how to read the folder.
    """

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
        values = sorted(
            set().union(*map_in_threads(lambda mask: set(np.unique(self._read_mask(mask)).tolist()), self._masks))
        )
        self._number: dict[int, int] | None = None
        if options.classes == "remap" or values in ([0, 255], [255]):
            self._number = {value: number for number, value in enumerate(values if len(values) > 1 else [0, *values])}
            self.class_names = options.class_names or tuple(str(value) for value in self._number)
            self.notes.append(f"values of masks are classes in this order: {shortened(list(self._number))}")
        largest = len(values) - 1 if self._number else values[-1]
        if options.class_names and largest >= len(options.class_names):
            raise DataError.at(
                path, "has masks with a value that is not a class", value=values[-1],
                allowed=f"0 to {len(options.class_names) - 1} (the class names)",
                remedy="add names, or number the values that occur with `--classes remap`",
            )  # fmt: skip
        self.targets = Values(self.inputs.shape[1:], label_type(largest + 1))
        if self._number is None and len(values) < largest + 1:
            self.notes.append(
                f"masks have {len(values)} different values up to {largest}; `--classes remap` numbers only those"
            )

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        masks = np.stack(list(map_in_threads(self._read_mask, self._masks[start:stop])))
        if self._number is not None:
            values = np.array(list(self._number))
            masks = np.searchsorted(values, masks)
        assert self.targets is not None
        return masks.astype(self.targets.dtype)

    def _read_mask(self, path: Path) -> NDArray[Any]:
        shape = self.inputs.shape[1:]
        try:
            with self._pillow.open(path) as image:
                if image.mode not in (*_GRAY, "P") or image.mode == "F":
                    raise ValueError(f"it has colors (mode {image.mode}) instead of class numbers")
                if int(getattr(image, "n_frames", 1)) != self._pages:
                    raise ValueError("it has not as many pages as its image")
                pages = []
                for page in range(self._pages):
                    image.seek(page)
                    pages.append(np.asarray(image))
                mask = np.stack(pages) if self._pages > 1 else pages[0]
        except (*DAMAGED, self._pillow.DecompressionBombError) as error:
            raise DataError.at(path, f"is a mask that cannot be read: {error}") from None
        if mask.shape != shape:
            raise DataError.at(path, "differs in shape from its image", value=mask.shape, allowed=str(shape))
        return mask.astype(np.int64)


def open_images(path: Path, options: PackOptions) -> Source:
    """Open a folder of images: with masks, in class folders, or with a table of labels.

    Raises:
        DataError: images cannot be read or differ in size; it names each of them.
    """
    if not is_table(options.targets) and options.trained_on is None:
        folders = split_folders(path) or {"train": path}
        pairs = {split: _image_and_mask_folder(folder, options) for split, folder in folders.items()}
        if all(pairs.values()):
            files: dict[str, list[Path]] = {}
            masks: dict[Path, Path] = {}
            for split, pair in pairs.items():
                assert pair is not None
                files[split] = files_below(pair[0], SUFFIXES)
                by_name = {mask_stem(mask): mask for mask in files_below(pair[1], SUFFIXES)}
                for file in files[split]:
                    if stem_of(file) not in by_name:
                        raise DataError.at(file, f"has no mask with this name in {pair[1]}", remedy="add it")
                    masks[file] = by_name[stem_of(file)]
            return MaskedImages(path, files, masks, options)
    return ImageFolder(path, labeled_files(path, SUFFIXES, "image", options), options)


def _image_and_mask_folder(folder: Path, options: PackOptions) -> tuple[Path, Path] | None:
    """Return the two subfolders of images and masks, if there are such."""
    images = [folder / name for name in ([options.inputs] if options.inputs else _IMAGE_FOLDERS)]
    masks = [folder / name for name in ([options.targets] if options.targets else _MASK_FOLDERS)]
    found = [[child for child in candidates if child.is_dir()] for candidates in (images, masks)]
    return (found[0][0], found[1][0]) if all(found) else None


def mask_stem(mask: Path) -> str:
    """Return the name that a mask shares with its image: ``cell01`` for ``cell01_mask.png``."""
    return re.sub(r"[_-](mask|label|labels|seg)$", "", stem_of(mask), flags=re.IGNORECASE)


FORMAT = Format("a folder of class folders with images", lambda place: place.holds(*SUFFIXES), open_images, order=70)
