"""NIfTI volumes of one shape, with one mask per volume or a label for each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import class_notes, is_whole, labels_or_values
from hpc_dl.data.packing.damaged import DAMAGED, MAX_RATIO
from hpc_dl.data.packing.file_per_sample import FilePerSample, first_faults, map_in_threads
from hpc_dl.data.packing.masks import MaskClasses, number_values, values_of
from hpc_dl.data.packing.source import PackOptions, Values, require
from hpc_dl.errors import DataError, Fault

SUFFIXES = (".nii", ".nii.gz")


class _Header(NamedTuple):
    values: Values
    voxel_size: tuple[float, ...]  #: in millimeters
    orientation: tuple[str, ...]  #: where the axes point to: ``("R", "A", "S")``


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
        values, headers = self._common_shape(self.samples)
        channels = values.shape[3:] or (1,)
        self._masks: list[Path] = [mask for mask in chosen if isinstance(mask, Path)]
        self._classes: MaskClasses | None = None
        self._values: NDArray[Any] | None = None
        stored: Values | None = None
        if not targets:
            task, self._values = "", np.empty((len(self.samples), 0), np.uint8)
        elif self._masks:
            task = "segmentation"
            masks, mask_headers = self._common_shape(self._masks)
            if masks.shape not in (values.shape[:3], (*values.shape[:3], 1)):
                raise DataError.at(
                    self._masks[0], "differs in shape from its volume", value=masks.shape, allowed=values.shape[:3]
                )
            self._check_positions(headers, mask_headers)
            found = set().union(*map_in_threads(lambda mask: values_of(self._read_mask(mask)), self._masks))
            self._classes = number_values(found, options, str(self._masks[0].parent))
            names, stored = self._classes.names, Values(values.shape[:3], self._classes.dtype)
        else:
            texts = [str(label) for label in chosen]
            task, self._values, names = labels_or_values(texts, options, f"{path}: {options.targets or 'labels'}")
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
        self.notes += self._classes.notes if self._classes else class_notes(names)
        orientations = Counter("".join(header.orientation) for header in headers)
        if len(orientations) > 1:
            counts = ", ".join(f"{axes} {count}x" for axes, count in orientations.most_common())
            self.notes.append(
                f"the axes of volumes point in different directions ({counts}) and are not turned; to turn all to RAS: "
                "`nibabel.as_closest_canonical(nibabel.load(FILE)).to_filename(NEW)`"
            )
        voxel_sizes = Counter(header.voxel_size for header in headers)
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
        assert self._classes is not None
        return self._classes.apply(np.stack(list(map_in_threads(self._read_mask, self._masks[start:stop]))))

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._values if self.task == "classification" else None

    def _read_mask(self, path: Path) -> NDArray[Any]:
        mask = self._read(path)
        mask = mask[..., 0] if mask.ndim == 4 else mask
        if mask.dtype.kind == "f":  # masks are often saved as floats
            invalid = ~is_whole(mask)
            if invalid.any():
                raise DataError.at(
                    path,
                    f"has a value that is not a class at voxel {tuple(np.argwhere(invalid)[0].tolist())}",
                    value=mask[invalid][0].item(),
                    allowed="whole numbers",
                    remedy="round it, or choose other masks with `--targets`",
                )
        return mask.astype(np.int64)

    def _check_positions(self, volumes: list[_Header], masks: list[_Header]) -> None:
        """Check that the axes of each mask point as those of its volume."""
        for file, mask, volume, own in zip(self.samples, self._masks, volumes, masks, strict=True):
            if volume.orientation != own.orientation:
                raise DataError.at(
                    mask,
                    f"has axes in other directions than {file.name}",
                    value="".join(own.orientation),
                    allowed="".join(volume.orientation),
                    remedy="resample it: `nibabel.processing.resample_from_to(MASK, VOLUME, order=0)`",
                )

    def _read(self, path: Path) -> NDArray[Any]:
        try:
            # Not get_fdata(): it would cache the data in the image object.
            return np.asanyarray(self._nibabel.load(path).dataobj)
        except self._errors as error:
            raise DataError(_unreadable(path, error)) from None

    def _common_shape(self, paths: list[Path]) -> tuple[Values, list[_Header]]:
        """Return the shape and type of all volumes, and the header of each."""
        headers = list(map_in_threads(self._header, paths))
        faults = [header for header in headers if isinstance(header, Fault)]
        if faults:
            raise first_faults(faults)
        valid = [header for header in headers if not isinstance(header, Fault)]
        usual = Counter(header.values.shape for header in valid).most_common(1)[0][0]
        faults = [
            Fault(str(path), "differs in shape from the other volumes", value=header.values.shape, allowed=str(usual),
                  remedy="resample or crop the volumes to one shape first")
            for path, header in zip(paths, valid, strict=True)
            if header.values.shape != usual
        ]  # fmt: skip
        if faults:
            raise first_faults(faults)
        types = {header.values.dtype for header in valid}
        return Values(usual, types.pop() if len(types) == 1 else np.dtype(np.float32)), valid

    def _header(self, path: Path) -> _Header | Fault:
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
            if dtype.kind not in "biuf":
                return Fault(
                    str(path), "has values that are not real numbers", value=str(dtype),
                    remedy="save the magnitude, or one volume per color or component",
                )  # fmt: skip
            slope, intercept = image.dataobj.slope, image.dataobj.inter
            if (slope, intercept) != (1, 0) or dtype.kind not in "iuf" or dtype.itemsize > 8:
                dtype = np.dtype(np.float32)
            voxel_size = tuple(round(float(size), 3) for size in image.header.get_zooms()[:3])
            axes = tuple(axis or "?" for axis in self._nibabel.aff2axcodes(image.affine))
            return _Header(Values(tuple(image.shape), dtype), voxel_size, axes)
        except self._errors as error:
            return _unreadable(path, error)


def _unreadable(path: Path, error: Exception) -> Fault:
    return Fault(str(path), f"is a volume that cannot be read: {error}", remedy="copy it again, or remove it")
