"""NIfTI volumes as a source, with one mask per volume or a table of labels."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import number_classes
from hpc_dl.data.packing.file_per_sample import FilePerSample, files_below, first_faults, map_in_threads
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, Values, require, split_folders
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".nii", ".nii.gz")
_IMAGE_FOLDERS = ("images", "imagesTr", "image", "volumes", "scans")
_MASK_FOLDERS = ("masks", "labels", "labelsTr", "mask", "segmentations")


class Volumes(FilePerSample):
    """Volumes of one shape as (N, 1, X, Y, Z), or (N, C, X, Y, Z) if they have a fourth axis.

    Args:
        path: the folder.
        volumes: the volumes of each split.
        targets: mask or label of each volume.
        options: how to read the volumes.
    """

    def __init__(
        self,
        path: Path,
        volumes: Mapping[str, list[Path]],
        targets: Mapping[Path, Path] | Mapping[Path, str],
        options: PackOptions,
    ) -> None:
        self._nibabel = require("nibabel", "nibabel", str(path))
        self.samples = [file for files in volumes.values() for file in files]
        chosen = [targets[file] for file in self.samples]
        names: tuple[str, ...] = options.class_names
        values, voxel_sizes = self._common_shape(self.samples)
        channels = values.shape[3:] or (1,)
        self._masks: list[Path] = [mask for mask in chosen if isinstance(mask, Path)]
        self._values: NDArray[Any] | None = None
        if self._masks:
            task = "segmentation"
            masks, _ = self._common_shape(self._masks)
            # Masks are often saved as floats. That they are integers is checked on reading.
            stored = Values(masks.shape[:3], np.dtype(np.uint8) if masks.dtype.itemsize > 1 else masks.dtype)
            self._mask_type = stored.dtype
            if stored.shape != values.shape[:3]:
                raise DataError.at(
                    self._masks[0], "differs in shape from its volume", value=stored.shape, allowed=values.shape[:3]
                )
        else:
            texts = [str(label) for label in chosen]
            task = "regression" if options.task == "regression" else _task_of(texts)
            if options.task == "classification":
                task = "classification"
            if task == "classification":
                self._values, names = number_classes(texts, names, options.targets or str(path))
            else:
                self._values, names = np.array([_number(text, options.targets) for text in texts], np.float32), ()
            stored = Values((), self._values.dtype)
        super().__init__(
            path=path,
            kind="NIfTI volumes",
            inputs=Values((*channels, *values.shape[:3]), values.dtype),
            targets=stored,
            sizes={split: len(files) for split, files in volumes.items()},
            has_splits=len(volumes) > 1,
            task=task,
            class_names=names,
            files=[file.absolute() for file in [*self.samples, *self._masks]],
        )
        if len(voxel_sizes) > 1:
            usual, count = voxel_sizes.most_common(1)[0]
            self.notes.append(
                f"{len(self.samples) - count} volumes have voxel sizes other than {usual} mm; they are not resampled"
            )

    def load(self, path: Path) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        values = self._read(path).astype(self.inputs.dtype, copy=False)
        return np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]

    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`FilePerSample`."""
        if self._values is not None:
            return self._values[start:stop]
        return np.stack(list(map_in_threads(self._load_mask, self._masks[start:stop])))

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._values if self.task == "classification" else None

    def _load_mask(self, path: Path) -> NDArray[Any]:
        mask = self._read(path)
        largest = len(self.class_names) - 1 if self.class_names else 255
        invalid = (mask != np.rint(mask)) | (mask < 0) | (mask > largest)
        if invalid.any():
            raise DataError.at(
                path,
                f"has a value that is not a class at voxel {tuple(np.argwhere(invalid)[0].tolist())}",
                value=mask[invalid][0].item(),
                allowed=f"integers from 0 to {largest}",
            )
        return mask.astype(self._mask_type)

    def _read(self, path: Path) -> NDArray[Any]:
        try:
            # Not get_fdata(): it would cache the data in the image object.
            return np.asanyarray(self._nibabel.load(path).dataobj)
        except (OSError, ValueError, EOFError, self._nibabel.filebasedimages.ImageFileError) as error:
            raise DataError(_unreadable(path, error)) from None

    def _common_shape(self, paths: list[Path]) -> tuple[Values, Counter[tuple[float, ...]]]:
        """Return the shape and type of all volumes, and how many volumes have which voxel size."""
        headers = list(map_in_threads(self._header, paths))
        faults = [header for header in headers if isinstance(header, Fault)]
        if faults:
            raise first_faults(faults)
        valid = [header for header in headers if not isinstance(header, Fault)]
        usual = Counter(values.shape for values, _ in valid).most_common(1)[0][0]
        faults = [
            Fault(str(path), "differs in shape from the other volumes", value=values.shape, allowed=str(usual),
                  remedy="resample or crop the volumes to one shape first")
            for path, (values, _) in zip(paths, valid, strict=True)
            if values.shape != usual
        ]  # fmt: skip
        if faults:
            raise first_faults(faults)
        dtype = valid[0][0].dtype if len({values.dtype for values, _ in valid}) == 1 else np.dtype(np.float32)
        return Values(usual, dtype), Counter(voxel_size for _, voxel_size in valid)

    def _header(self, path: Path) -> tuple[Values, tuple[float, ...]] | Fault:
        try:
            image = self._nibabel.load(path)
            if len(image.shape) not in (3, 4):
                return Fault(str(path), "is not a volume", value=image.shape, allowed="(X, Y, Z) or (X, Y, Z, C)")
            dtype = image.get_data_dtype().newbyteorder("=")
            slope, intercept = image.dataobj.slope, image.dataobj.inter
            if (slope, intercept) != (1, 0) or dtype.kind not in "iuf" or dtype.itemsize > 8:
                dtype = np.dtype(np.float32)
            return Values(tuple(image.shape), dtype), tuple(round(float(v), 3) for v in image.header.get_zooms()[:3])
        except (OSError, ValueError, EOFError, self._nibabel.filebasedimages.ImageFileError) as error:
            return _unreadable(path, error)


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
    labels: dict[str, str] | None = None
    if table is not None and table.suffix.lower() in (".csv", ".tsv"):
        labels = _read_labels(table)
    for split, folder in (folders or {"train": path}).items():
        if labels is not None:
            volumes[split] = files_below(folder, SUFFIXES)
            targets |= {file: _label_of(file, labels, table) for file in volumes[split]}
        else:
            images = _subfolder(folder, (options.inputs,) if options.inputs else _IMAGE_FOLDERS, "--inputs")
            masks = _subfolder(folder, (options.targets,) if options.targets else _MASK_FOLDERS, "--targets")
            volumes[split] = files_below(images, SUFFIXES)
            by_name = {_stem(file): file for file in files_below(masks, SUFFIXES)}
            targets |= {file: _mask_of(file, by_name, masks) for file in volumes[split]}
        if not volumes[split]:
            raise DataError.at(folder, "contains no volumes", allowed=", ".join(SUFFIXES))
    source = Volumes(path, volumes, targets, options)
    if table is not None and labels is not None:
        source.files.append(table.absolute())
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


def _stem(file: Path) -> str:
    """Return the name shared by a volume and its mask, without nnU-Net's suffix for a channel."""
    return file.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")


def _mask_of(file: Path, by_name: Mapping[str, Path], masks: Path) -> Path:
    if _stem(file) not in by_name:
        raise DataError.at(file, f"has no mask with this name in {masks}", remedy="add it, or remove the volume")
    return by_name[_stem(file)]


def _read_labels(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if table.suffix == ".tsv" else ",") if row]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError.at(table, f"cannot be read: {error}") from None
    if incomplete := [number for number, row in enumerate(rows, 1) if len(row) < 2]:
        raise DataError.at(table, f"has no label in line {incomplete[0]}", allowed="the file, then the label")
    return {_stem(Path(row[0])): row[1].strip() for row in rows}


def _label_of(file: Path, labels: Mapping[str, str], table: Path | None) -> str:
    if not labels.get(_stem(file)):
        raise DataError.at(file, f"has no label in {table}", remedy="add a line for it, or remove the volume")
    return labels[_stem(file)]


def _task_of(texts: list[str]) -> str:
    """Infer the task: regression if all are numbers and some are not integers."""
    try:
        return "regression" if any(not float(text).is_integer() for text in texts) else "classification"
    except ValueError:
        return "classification"


def _number(text: str, where: str | None) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError.at(
            where, "is not a number", value=text, remedy="correct it, or use `--task classification`"
        ) from None


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is a volume that cannot be read: {error}", remedy="copy it again, or remove it")


FORMAT = Format("a folder of NIfTI volumes", lambda place: place.holds(*SUFFIXES), open_nifti, order=60)
