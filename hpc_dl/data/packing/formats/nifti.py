"""Folders of NIfTI volumes, with one mask per volume or a table of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpc_dl.data.packing.file_per_sample import files_below
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.label_table import LabelTable, is_table, stem_of
from hpc_dl.data.packing.masks import pairs
from hpc_dl.data.packing.nifti_volumes import SUFFIXES, Volumes
from hpc_dl.data.packing.source import PackOptions, Source, split_folders
from hpc_dl.errors import DataError

_IMAGE_FOLDERS = ("images", "imagesTr", "image", "volumes", "scans")
_MASK_FOLDERS = ("masks", "labels", "labelsTr", "mask", "segmentations")


def open_nifti(path: Path, options: PackOptions) -> Source:
    """Open a folder of NIfTI volumes.

    The masks are in a separate folder under the same names (``images/`` and ``masks/``, or the
    folder named by ``--targets``). For labels, ``--targets`` names a CSV table with the file in its
    first column and the label in its second column.

    Raises:
        DataError: a volume has no mask or label, or volumes differ in shape.
    """
    folders = split_folders(path)
    volumes: dict[str, list[Path]] = {}
    targets: dict[Path, Any] = {}
    table = Path(options.targets) if options.targets else None
    labels: LabelTable | None = None
    if table is not None and is_table(options.targets):
        labels = LabelTable(table)
    for split, folder in (folders or {"train": path}).items():
        if labels is not None:
            volumes[split] = files_below(folder, SUFFIXES)
            targets |= {file: labels.label_of(file) for file in volumes[split]}
        elif options.trained_on is not None:  # volumes to predict
            images = next((folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()), folder)
            volumes[split] = files_below(images, SUFFIXES)
        else:
            images = _subfolder(folder, (options.inputs,) if options.inputs else _IMAGE_FOLDERS, "--inputs")
            masks = _subfolder(folder, (options.targets,) if options.targets else _MASK_FOLDERS, "--targets")
            volumes[split] = files_below(images, SUFFIXES)
            targets |= pairs(volumes[split], images, files_below(masks, SUFFIXES), masks, stem_of)
        if not volumes[split]:
            raise DataError.at(folder, "contains no volumes", allowed=", ".join(SUFFIXES))
    source = Volumes(path, volumes, targets, options)
    if table is not None and labels is not None:
        source.files.append(table.absolute())
        source.notes += labels.notes()
    return source


def _subfolder(folder: Path, names: tuple[str, ...], option: str) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataError.at(
        folder,
        "has no such subfolder",
        value=names[0],
        allowed=", ".join(sorted(child.name for child in folder.iterdir() if child.is_dir()))
        or "there are no subfolders",
        remedy=f"specify it with `{option}`, or use `--targets TABLE.csv` for labels of whole volumes",
    )


FORMAT = Format("a folder of NIfTI volumes", lambda place: place.holds(*SUFFIXES), open_nifti, order=60)
