"""Folders of images: one folder per class, a table of labels, or a mask for each image."""

from __future__ import annotations

import re
from pathlib import Path

from hpc_dl.data.packing.class_folders import labeled_files
from hpc_dl.data.packing.file_per_sample import files_below
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.image_folder import ImageFolder
from hpc_dl.data.packing.label_table import is_table, stem_of
from hpc_dl.data.packing.masked_images import MaskedImages
from hpc_dl.data.packing.masks import pairs
from hpc_dl.data.packing.source import PackOptions, Source, split_folders

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")

_IMAGE_FOLDERS = ("images", "image", "imgs")
_MASK_FOLDERS = ("masks", "mask", "labels", "segmentations")


def open_images(path: Path, options: PackOptions) -> Source:
    """Open a folder of images: with masks, in class folders, or with a table of labels.

    Raises:
        DataError: images cannot be read or differ in size; it names each of them.
    """
    if not is_table(options.targets) and options.trained_on is None:
        folders = split_folders(path) or {"train": path}
        found = {split: _image_and_mask_folder(folder, options) for split, folder in folders.items()}
        if all(found.values()):
            files: dict[str, list[Path]] = {}
            masks: dict[Path, Path] = {}
            for split, pair in found.items():
                assert pair is not None
                files[split] = files_below(pair[0], SUFFIXES)
                masks |= pairs(files[split], pair[0], files_below(pair[1], SUFFIXES), pair[1], mask_stem)
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
