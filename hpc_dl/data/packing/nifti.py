"""NIfTI volumes as a source, with a mask for each, or with a table of labels."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.single_files import SingleFiles, files_below, in_threads, together
from hpc_dl.data.packing.source import Source, Values, Wishes, need, number_classes, split_folders
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".nii", ".nii.gz")
_IMAGE_FOLDERS = ("images", "imagesTr", "image", "volumes", "scans")
_MASK_FOLDERS = ("masks", "labels", "labelsTr", "mask", "segmentations")


class Volumes(SingleFiles):
    """Volumes of one shape as (N, 1, X, Y, Z), or (N, C, X, Y, Z) where they have a fourth axis.

    Args:
        path: the folder.
        volumes: the volumes of each split.
        targets: the mask of each volume, or its label.
        wishes: what the user says.
    """

    def __init__(
        self,
        path: Path,
        volumes: Mapping[str, list[Path]],
        targets: Mapping[Path, Path] | Mapping[Path, str],
        wishes: Wishes,
    ) -> None:
        self._nibabel = need("nibabel", "nibabel", str(path))
        self.samples = [file for files in volumes.values() for file in files]
        chosen = [targets[file] for file in self.samples]
        names: tuple[str, ...] = wishes.class_names
        values, voxels = self._alike(self.samples)
        channels = values.shape[3:] or (1,)
        self._masks: list[Path] = [mask for mask in chosen if isinstance(mask, Path)]
        self._values: NDArray[Any] | None = None
        if self._masks:
            task = "segmentation"
            masks, _ = self._alike(self._masks)
            # Masks are often saved as floats of whole numbers; which they are is checked when they
            # are read.
            stored = Values(masks.shape[:3], np.dtype(np.uint8) if masks.dtype.itemsize > 1 else masks.dtype)
            if stored.shape != values.shape[:3]:
                raise DataError.at(
                    self._masks[0], "is of another shape than its volume", value=stored.shape, allowed=values.shape[:3]
                )
        else:
            texts = [str(label) for label in chosen]
            task = "regression" if wishes.task == "regression" else _task_of(texts)
            if wishes.task == "classification":
                task = "classification"
            if task == "classification":
                self._values, names = number_classes(texts, names, wishes.targets or str(path))
            else:
                self._values, names = np.array([_number(text, wishes.targets) for text in texts], np.float32), ()
            stored = Values((), self._values.dtype)
        super().__init__(
            path=path,
            kind="NIfTI volumes",
            inputs=Values((*channels, *values.shape[:3]), values.dtype),
            targets=stored,
            sizes={split: len(files) for split, files in volumes.items()},
            divided=len(volumes) > 1,
            task=task,
            class_names=names,
            files=[file.absolute() for file in [*self.samples, *self._masks]],
        )
        if len(voxels) > 1:
            usual, count = voxels.most_common(1)[0]
            self.notes.append(
                f"{len(self.samples) - count} volumes have other voxel sizes than {usual} mm; they are not resampled"
            )

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`SingleFiles`."""
        values = self._read(path).astype(self.inputs.dtype, copy=False)
        return np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`SingleFiles`."""
        if self._values is not None:
            return self._values[start:stop]
        return np.stack(list(in_threads(self._load_mask, self._masks[start:stop])))

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._values if self.task == "classification" else None

    def _load_mask(self, path: Path) -> NDArray[Any]:
        mask = self._read(path)
        largest = len(self.class_names) - 1 if self.class_names else 255
        wrong = (mask != np.rint(mask)) | (mask < 0) | (mask > largest)
        if wrong.any():
            raise DataError.at(
                path,
                f"is a mask with a value that is no class, at voxel {tuple(np.argwhere(wrong)[0].tolist())}",
                value=mask[wrong][0].item(),
                allowed=f"whole numbers from 0 to {largest}",
            )
        return mask.astype(self.targets.dtype)

    def _read(self, path: Path) -> NDArray[Any]:
        try:
            # A volume at a time: nothing of it stays in memory with the image object.
            return np.asanyarray(self._nibabel.load(path).dataobj)
        except (OSError, ValueError, EOFError, self._nibabel.filebasedimages.ImageFileError) as error:
            raise DataError(_unreadable(path, error)) from None

    def _alike(self, paths: list[Path]) -> tuple[Values, Counter[tuple[float, ...]]]:
        """Shape and type of all these volumes from their headers, and how many have which voxel
        size.
        """
        headers = list(in_threads(self._header, paths))
        faults = [header for header in headers if isinstance(header, Fault)]
        if faults:
            raise together(faults)
        found = [header for header in headers if not isinstance(header, Fault)]
        usual = Counter(values.shape for values, _ in found).most_common(1)[0][0]
        faults = [
            Fault(str(path), "is of another shape than the others", value=values.shape, allowed=str(usual),
                  remedy="resample or crop the volumes to one shape first")
            for path, (values, _) in zip(paths, found, strict=True)
            if values.shape != usual
        ]  # fmt: skip
        if faults:
            raise together(faults)
        dtype = found[0][0].dtype if len({values.dtype for values, _ in found}) == 1 else np.dtype(np.float32)
        return Values(usual, dtype), Counter(voxels for _, voxels in found)

    def _header(self, path: Path) -> tuple[Values, tuple[float, ...]] | Fault:
        try:
            image = self._nibabel.load(path)
            if len(image.shape) not in (3, 4):
                return Fault(str(path), "is no volume", value=image.shape, allowed="(X, Y, Z) or (X, Y, Z, C)")
            dtype = image.get_data_dtype().newbyteorder("=")
            slope, intercept = image.dataobj.slope, image.dataobj.inter
            if (slope, intercept) != (1, 0) or dtype.kind not in "iuf" or dtype.itemsize > 8:
                dtype = np.dtype(np.float32)
            return Values(tuple(image.shape), dtype), tuple(round(float(v), 3) for v in image.header.get_zooms()[:3])
        except (OSError, ValueError, EOFError, self._nibabel.filebasedimages.ImageFileError) as error:
            return _unreadable(path, error)


def open_nifti(path: Path, wishes: Wishes) -> Source:
    """A folder of NIfTI volumes as a source.

    The masks lie in a folder of their own (``images/`` and ``masks/``, or the one that
    ``--targets`` names) under the same names; or ``--targets`` names a CSV table with the file in
    its first column and the label in its second one.

    Raises:
        DataError: a volume has no mask or label, or they are not alike.
    """
    folders = split_folders(path)
    volumes: dict[str, list[Path]] = {}
    targets: dict[Path, Any] = {}
    table = Path(wishes.targets) if wishes.targets else None
    by_table = table is not None and table.suffix.lower() in (".csv", ".tsv")
    if by_table:
        assert table is not None
        labels = _labels(table)
    for split, folder in (folders or {"train": path}).items():
        if by_table:
            volumes[split] = files_below(folder, SUFFIXES)
            targets |= {file: _label_of(file, labels, table) for file in volumes[split]}
        else:
            images = _subfolder(folder, (wishes.inputs,) if wishes.inputs else _IMAGE_FOLDERS, "--inputs")
            masks = _subfolder(folder, (wishes.targets,) if wishes.targets else _MASK_FOLDERS, "--targets")
            volumes[split] = files_below(images, SUFFIXES)
            by_name = {_stem(file): file for file in files_below(masks, SUFFIXES)}
            targets |= {file: _mask_of(file, by_name, masks) for file in volumes[split]}
        if not volumes[split]:
            raise DataError.at(folder, "holds no volumes", allowed=", ".join(SUFFIXES))
    source = Volumes(path, volumes, targets, wishes)
    if by_table:
        assert table is not None
        source.files.append(table.absolute())
    return source


def _subfolder(folder: Path, names: tuple[str, ...], option: str) -> Path:
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise DataError.at(
        folder,
        "has no such folder",
        value=names[0],
        allowed=", ".join(sorted(child.name for child in folder.iterdir() if child.is_dir())) or "there are no folders",
        remedy=f"name it by `{option}`; labels of whole volumes: `--targets TABLE.csv`",
    )


def _stem(file: Path) -> str:
    """The name that a volume and its mask share; nnU-Net adds the channel to that of the volume."""
    return file.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")


def _mask_of(file: Path, by_name: Mapping[str, Path], masks: Path) -> Path:
    if _stem(file) not in by_name:
        raise DataError.at(file, f"has no mask of this name in {masks}", remedy="add it, or take the volume out")
    return by_name[_stem(file)]


def _labels(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if table.suffix == ".tsv" else ",") if row]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError.at(table, f"cannot be read: {error}") from None
    if bad := [number for number, row in enumerate(rows, 1) if len(row) < 2]:
        raise DataError.at(table, f"has no label in line {bad[0]}", allowed="the file, then the label")
    return {_stem(Path(row[0])): row[1].strip() for row in rows}


def _label_of(file: Path, labels: Mapping[str, str], table: Path | None) -> str:
    if not labels.get(_stem(file)):
        raise DataError.at(file, f"has no label in {table}", remedy="add a line for it, or take the volume out")
    return labels[_stem(file)]


def _task_of(texts: list[str]) -> str:
    """Numbers with a point are values; all else are classes."""
    try:
        return "regression" if any(not float(text).is_integer() for text in texts) else "classification"
    except ValueError:
        return "classification"


def _number(text: str, where: str | None) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError.at(where, "is no number", value=text, remedy="say `--task classification`") from None


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is a volume that cannot be read: {error}", remedy="copy it again, or take it out")
