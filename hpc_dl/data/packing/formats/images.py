"""Folders of images as a source: one folder per class, optionally inside one folder per split."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import label_type
from hpc_dl.data.packing.file_per_sample import FilePerSample, files_below, first_faults, map_in_threads
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, Values, require, split_folders
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")

# Pillow's modes with one channel that are stored unchanged. All others are converted to RGB.
_GRAY = {"1": np.uint8, "L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}


@dataclasses.dataclass(frozen=True)
class _Header:
    """Size and mode of an image according to its header, or why it cannot be read."""

    path: Path
    size: tuple[int, int] = (0, 0)  #: height, width
    mode: str = ""
    fault: Fault | None = None


class ImageFolder(FilePerSample):
    """Images of one size; shape and type are determined from the headers of all images."""

    def __init__(self, path: Path, options: PackOptions) -> None:
        self._pillow = require("PIL.Image", "Pillow", str(path))
        folders = split_folders(path)
        self.samples, labels, sizes = [], [], {}
        classes_of = {split: _classes(folder) for split, folder in (folders or {"train": path}).items()}
        names = options.class_names or tuple(sorted({name for classes in classes_of.values() for name in classes}))
        for split, classes in classes_of.items():
            for name, files in classes.items():
                if name not in names:
                    raise DataError.at(
                        files[0].parent, "is not among the class names", value=name, allowed=", ".join(names)
                    )
                self.samples += files
                labels += [names.index(name)] * len(files)
            sizes[split] = sum(map(len, classes.values()))
        self._labels = np.array(labels, label_type(len(names)))
        self._size = options.size
        headers = self._headers()
        self._mode, (height, width) = headers[0].mode, self._size or headers[0].size
        modes = Counter(header.mode for header in headers)
        if len(modes) > 1 or self._mode not in _GRAY:
            self._mode = "RGB"
        channels = 1 if self._mode in _GRAY else 3
        super().__init__(
            path=path,
            kind="image folder",
            inputs=Values((channels, height, width), np.dtype(_GRAY.get(self._mode, np.uint8))),
            targets=Values((), self._labels.dtype),
            sizes=sizes,
            has_splits=len(sizes) > 1,
            task="classification",
            class_names=names,
            files=[file.absolute() for file in self.samples],
        )
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
        channels, height, width = self.inputs.shape
        try:
            with self._pillow.open(path) as image:
                if self._mode == "RGB":
                    # A palette with transparency keeps its colors only if converted to RGBA first.
                    pixels = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
                else:
                    pixels = image.convert("L") if image.mode == "1" else image
                if self._size and pixels.size != (width, height):
                    pixels = self._resize(pixels, (width, height))
                values = np.asarray(pixels).astype(self.inputs.dtype, copy=False)
        except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
            raise DataError(_unreadable(path, error)) from None
        return values[None] if channels == 1 else np.moveaxis(values, -1, 0)

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        return self._labels[start:stop]

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._labels

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
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    fault = Fault(str(path), f"contains {frames} images", remedy="save each one as a separate file")
                    return _Header(path, fault=fault)
                return _Header(path, (image.height, image.width), image.mode)
        except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
            return _Header(path, fault=_unreadable(path, error))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class; folders without images are ignored."""
    stray = [child for child in sorted(folder.iterdir()) if child.suffix.lower() in SUFFIXES and child.is_file()]
    if stray:
        raise DataError.at(
            stray[0], "is not in a class folder", remedy=f"move each image to {folder}/CLASS/, or remove it"
        )
    subfolders = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    classes = {child.name: files for child in subfolders if (files := files_below(child, SUFFIXES))}
    if not classes:
        raise DataError.at(folder, "has no class folders with images", allowed="CLASS/*" + ", ".join(SUFFIXES))
    return classes


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is an image that cannot be read: {error}", remedy="copy it again, or remove it")


def open_images(path: Path, options: PackOptions) -> Source:
    """Open a folder of images.

    Raises:
        DataError: images cannot be read or differ in size; it names each of them.
    """
    return ImageFolder(path, options)


FORMAT = Format("a folder of class folders with images", lambda place: place.holds(*SUFFIXES), open_images, order=70)
