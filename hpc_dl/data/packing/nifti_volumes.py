"""NIfTI volumes of one shape, with one mask per volume or a label for each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import class_notes, labels_or_values
from hpc_dl.data.packing.damaged import DAMAGED, MAX_RATIO
from hpc_dl.data.packing.file_per_sample import FilePerSample, first_faults, map_in_threads
from hpc_dl.data.packing.source import PackOptions, Values, require
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".nii", ".nii.gz")


class Volumes(FilePerSample):
    """Volumes of one shape as (N, 1, X, Y, Z), or (N, C, X, Y, Z) if they have a fourth axis.

    Args:
        path: the folder.
        volumes: the volumes of each split.
        targets: mask or label of each volume; empty for volumes to predict.
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
        self._errors = (
            *DAMAGED, self._nibabel.filebasedimages.ImageFileError, self._nibabel.spatialimages.HeaderDataError,
        )  # fmt: skip
        self.samples = [file for files in volumes.values() for file in files]
        chosen = [targets[file] for file in self.samples if targets]
        names: tuple[str, ...] = options.class_names
        values, voxel_sizes = self._common_shape(self.samples)
        channels = values.shape[3:] or (1,)
        self._masks: list[Path] = [mask for mask in chosen if isinstance(mask, Path)]
        self._values: NDArray[Any] | None = None
        stored: Values | None = None
        if not targets:
            task, self._values = "", np.empty((len(self.samples), 0), np.uint8)
        elif self._masks:
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
            task, self._values, names = labels_or_values(texts, options, options.targets or str(path))
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
        self.notes += class_notes(names) if names and not self._masks else []
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
        except self._errors as error:
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
            declared, stored = math.prod(map(int, image.shape)) * dtype.itemsize, path.stat().st_size
            possible = stored * MAX_RATIO if path.name.lower().endswith(".gz") else stored
            if not 0 < declared <= possible:
                return Fault(
                    str(path), f"declares {declared:,} bytes of values, but has {stored:,} bytes",
                    remedy="copy it again, or remove it",
                )  # fmt: skip
            slope, intercept = image.dataobj.slope, image.dataobj.inter
            if (slope, intercept) != (1, 0) or dtype.kind not in "iuf" or dtype.itemsize > 8:
                dtype = np.dtype(np.float32)
            return Values(tuple(image.shape), dtype), tuple(round(float(v), 3) for v in image.header.get_zooms()[:3])
        except self._errors as error:
            return _unreadable(path, error)


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is a volume that cannot be read: {error}", remedy="copy it again, or remove it")
