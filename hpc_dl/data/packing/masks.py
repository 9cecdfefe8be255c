"""Masks: which file belongs to which image, and which class each value stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import class_notes, label_type
from hpc_dl.data.packing.source import PackOptions
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

_MOST_UNNUMBERED = 256
_MOST_CLASSES = 1 << 16
_RANGE_TO_COUNT = 1 << 16


def pairs(
    images: Sequence[Path], image_folder: Path, masks: Iterable[Path], mask_folder: Path, stem: Callable[[Path], str]
) -> dict[Path, Path]:
    """Return the mask of each image: that of the same name, in the same subfolder.

    Args:
        images: files below ``image_folder``.
        image_folder: the folder of the images.
        masks: files below ``mask_folder``.
        mask_folder: the folder of the masks.
        stem: the name that a file shares with its image or mask.

    Raises:
        DataError: an image has no mask, or two files have the same name.
    """
    by_name: dict[tuple[Path, str], Path] = {}
    for mask in masks:
        other = by_name.setdefault((mask.parent.relative_to(mask_folder), stem(mask)), mask)
        if other != mask:
            raise DataError.at(mask, "belongs to the same image as another mask", value=str(other), remedy="remove one")
    found: dict[Path, Path] = {}
    image_of: dict[Path, Path] = {}
    for image in images:
        key = (image.parent.relative_to(image_folder), stem(image))
        if key not in by_name:
            raise DataError.at(
                image, f"has no mask with this name in {mask_folder}", remedy="add it, or remove the image"
            )
        found[image] = by_name[key]
        if (other := image_of.setdefault(found[image], image)) != image:
            raise DataError.at(image, "has the same mask as another image", value=str(other), remedy="remove one")
    return found


def values_of(mask: NDArray[Any]) -> set[int]:
    """Return the different values of a mask of integers."""
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if high - low < _RANGE_TO_COUNT:  # faster than to sort them
        return set((np.flatnonzero(np.bincount((mask.reshape(-1) - low).astype(np.int64))) + low).tolist())
    return set(np.unique(mask).tolist())


@dataclass
class MaskClasses:
    """The classes of all masks.

    Attributes:
        names: of the classes; empty if the values themselves are the classes.
        dtype: the smallest type for the classes.
        notes: how the values were read.
    """

    names: tuple[str, ...]
    dtype: np.dtype[Any]
    notes: list[str] = field(default_factory=list)
    _values: NDArray[np.int64] | None = None

    def apply(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Return the class of each pixel or voxel."""
        return (mask if self._values is None else np.searchsorted(self._values, mask)).astype(self.dtype)


def number_values(
    found: Iterable[int], options: PackOptions, where: str, name: Callable[[int], str] = str
) -> MaskClasses:
    """Decide the classes from the values of all masks.

    They are numbered on request, or if they are 0 and 255 only, as drawing programs save masks.

    Args:
        found: all values.
        options: the names of the classes, and whether to number the values that occur.
        where: where the masks are, for messages.
        name: the name of a value.

    Raises:
        DataError: the values are not classes, or do not fit the names.
    """
    values, names = sorted(found), options.class_names
    if len(values) > _MOST_CLASSES:
        raise DataError.at(where, f"has masks with {len(values):,} different values, too many for classes")
    if options.classes == "remap" or values in ([0, 255], [255]):
        values = values if len(values) > 1 else sorted({0, *values})
        if names and len(names) != len(values):
            raise DataError.at(
                where,
                f"has masks with {len(values)} different values ({shortened(list(map(name, values)))})",
                allowed=f"the {len(names)} class names: {shortened(names)}",
                remedy="correct `--class-names`",
            )
        names = names or tuple(map(name, values))
        notes = [f"values of masks are classes in this order: {shortened([name(value) for value in values])}"]
        return MaskClasses(names, label_type(len(values)), notes, np.array(values, np.int64))
    largest, most = values[-1], len(names) or _MOST_UNNUMBERED
    if values[0] < 0 or (largest >= most and (names or len(values) <= largest)):
        raise DataError.at(
            where,
            "has masks with a value that is not a class",
            value=values[0] if values[0] < 0 else largest,
            allowed=f"0 to {most - 1}" + (" (the class names)" if names else ""),
            remedy="number the values that occur with `--classes remap`" + (", or add names" if names else ""),
        )
    notes = class_notes(names)
    if len(values) < largest + 1 and not names:
        note = f"masks have {len(values)} different values up to {largest}; `--classes remap` numbers only those"
        notes.append(note + ("; if 255 marks what has no class: `data.ignore_label: 255`" if largest == 255 else ""))
    return MaskClasses(names, label_type(largest + 1), notes)
