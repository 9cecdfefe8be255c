"""Folders of images as a source: a folder for each class, in folders for the splits where there are
any.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.single_files import SingleFiles, files_below, in_threads, together
from hpc_dl.data.packing.source import Source, Values, Wishes, label_type, need, split_folders
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")

# Pillow's modes that are stored as they are: one channel. All others become RGB.
_GRAY = {"1": np.uint8, "L": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}


@dataclasses.dataclass(frozen=True)
class _Header:
    """What the header of an image says."""

    path: Path
    size: tuple[int, int] = (0, 0)  #: height, width
    mode: str = ""
    fault: Fault | None = None


class ImageFolder(SingleFiles):
    """Images of one size, from the headers of all of which shape and type are known."""

    def __init__(self, path: Path, wishes: Wishes) -> None:
        self._pillow = need("PIL.Image", "Pillow", str(path))
        folders = split_folders(path)
        self.samples, labels, sizes = [], [], {}
        found = {split: _classes(folder) for split, folder in (folders or {"train": path}).items()}
        names = wishes.class_names or tuple(sorted({name for classes in found.values() for name in classes}))
        for split, classes in found.items():
            for name, files in classes.items():
                if name not in names:
                    raise DataError.at(
                        files[0].parent, "is a class that was not named", value=name, allowed=", ".join(names)
                    )
                self.samples += files
                labels += [names.index(name)] * len(files)
            sizes[split] = sum(map(len, classes.values()))
        self._labels = np.array(labels, label_type(len(names)))
        self._size = wishes.size
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
            divided=len(sizes) > 1,
            task="classification",
            class_names=names,
            files=[file.absolute() for file in self.samples],
        )
        if self._mode == "RGB" and set(modes) != {"RGB"}:
            kinds = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common())
            self.notes.append(f"all become RGB (Pillow's modes: {kinds}); transparency is dropped")
        if self._size:
            resized = sum(header.size != self._size for header in headers)
            self.notes.append(
                f"{resized:,} of {len(headers):,} images are brought to {height}x{width} by bilinear resampling with "
                "antialiasing, which changes their aspect ratio where it differs"
            )

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`SingleFiles`."""
        channels, height, width = self.inputs.shape
        try:
            with self._pillow.open(path) as image:
                if self._mode == "RGB":
                    # By way of RGBA a palette with transparency keeps the colors that it has.
                    pixels = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
                else:
                    pixels = image.convert("L") if image.mode == "1" else image
                if self._size and pixels.size != (width, height):
                    pixels = self._resized(pixels, (width, height))
                values = np.asarray(pixels).astype(self.inputs.dtype, copy=False)
        except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
            raise DataError(_unreadable(path, error)) from None
        return values[None] if channels == 1 else np.moveaxis(values, -1, 0)

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`SingleFiles`."""
        return self._labels[start:stop]

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._labels

    def _resized(self, image: Any, size: tuple[int, int]) -> Any:
        if image.mode in ("L", "RGB"):
            return image.resize(size, self._pillow.Resampling.BILINEAR)
        # Pillow resizes other types only as floats.
        values = self._pillow.fromarray(np.asarray(image).astype(np.float32))
        resized = np.asarray(values.resize(size, self._pillow.Resampling.BILINEAR))
        return resized if image.mode == "F" else np.rint(resized)

    def _headers(self) -> list[_Header]:
        """The headers of all images: what does not fit is told before hours of work, not after."""
        headers = list(in_threads(self._header, self.samples))
        faults = [header.fault for header in headers if header.fault]
        if faults:
            raise together(faults)
        if self._size is None:
            usual = Counter(header.size for header in headers).most_common(1)[0][0]
            faults = [
                Fault(
                    str(header.path),
                    "is of another size than the others",
                    value=f"{header.size[0]}x{header.size[1]}",
                    allowed=f"{usual[0]}x{usual[1]} (height x width)",
                    remedy="bring all to one size by `--size HEIGHTxWIDTH`",
                )
                for header in headers
                if header.size != usual
            ]
            if faults:
                raise together(faults)
        return headers

    def _header(self, path: Path) -> _Header:
        try:
            with self._pillow.open(path) as image:
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    fault = Fault(str(path), f"holds {frames} images", remedy="save each as a file of its own")
                    return _Header(path, fault=fault)
                return _Header(path, (image.height, image.width), image.mode)
        except (OSError, SyntaxError, ValueError, self._pillow.DecompressionBombError) as error:
            return _Header(path, fault=_unreadable(path, error))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The images of each class; folders without images are no classes."""
    stray = [child for child in sorted(folder.iterdir()) if child.suffix.lower() in SUFFIXES and child.is_file()]
    if stray:
        raise DataError.at(
            stray[0], "lies in no folder of a class", remedy=f"put each image in {folder}/CLASS/, or take it out"
        )
    subfolders = [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]
    classes = {child.name: files for child in subfolders if (files := files_below(child, SUFFIXES))}
    if not classes:
        raise DataError.at(folder, "has no folders of images", allowed="CLASS/*" + ", ".join(SUFFIXES))
    return classes


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is an image that cannot be read: {error}", remedy="copy it again, or take it out")


def open_images(path: Path, wishes: Wishes) -> Source:
    """A folder of images as a source.

    Raises:
        DataError: with a fault for each image that cannot be read or is of another size.
    """
    return ImageFolder(path, wishes)
