"""Zarr groups of version 2 and 3, in a folder: arrays are found by name, as in HDF5."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import pair_up
from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.packing.unlabeled import inputs_among, unlabeled
from hpc_dl.data.storage.available_memory import available_bytes
from hpc_dl.errors import DataError

_MARKERS = (".zgroup", ".zarray", "zarr.json")


class ZarrColumn:
    """An array, read by whole chunks along its first axis."""

    def __init__(self, path: Path, array: Any) -> None:
        self.name = f"{path}:/{array.path.strip('/')}"
        self._array, self.shape, self.dtype = array, tuple(map(int, array.shape)), np.dtype(array.dtype)
        chunk = math.prod(array.chunks) * self.dtype.itemsize
        if chunk > available_bytes() / 4:
            raise DataError.at(self.name, f"has chunks of {chunk:,} bytes, which exceed the memory", value=array.chunks)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        together = int(array.chunks[0]) if array.chunks else 1
        self.rows_together = together if together * row_bytes <= 256 << 20 else 1

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        try:
            values = np.asarray(self._array[start:stop])
        except Exception as error:  # each codec has its own
            raise DataError.at(self.name, f"cannot be read: {error}", remedy="copy the folder again") from None
        return values.astype(self.dtype.newbyteorder("="), copy=False)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""


def open_zarr(path: Path, options: PackOptions) -> Source:
    """Open a zarr group in a folder.

    Raises:
        DataError: it cannot be read, or its inputs and targets cannot be inferred.
    """
    zarr = require("zarr", "zarr", str(path), extra="zarr")
    try:
        group = zarr.open(str(path), mode="r")
        if isinstance(group, zarr.Array):
            raise DataError.at(
                path,
                "is one array, not a group with inputs and targets",
                remedy="specify the group above it, or save arrays: `np.save('x.npy', zarr.open('FILE')[:])`, "
                "likewise y.npy, and pack x.npy",
            )
        arrays = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    except DataError:
        raise
    except Exception as error:  # each store and version has its own
        raise DataError.at(path, f"cannot be read as a zarr group: {error}", remedy="copy the folder again") from None
    kind = f"zarr {group.metadata.zarr_format}"
    if options.trained_on is not None:
        inputs = ZarrColumn(path, arrays[inputs_among(list(arrays), path, options.inputs)])
        return unlabeled(path, kind, inputs, options, _files(path))
    pairs: dict[str, tuple[Column, Column]] = {}
    for split, (name, of_targets) in pair_up(list(arrays), path, options.inputs, options.targets).items():
        pairs[split] = (ZarrColumn(path, arrays[name]), _labels(path, arrays[of_targets]))
    groups = None
    if options.group:
        if options.group.strip("/") not in arrays:
            raise DataError.at(f"{path}:/{options.group}", "does not exist", remedy="correct `--group`")
        groups = _labels(path, arrays[options.group.strip("/")])
    return PairedSource(path, kind, pairs, options, _files(path), groups=groups)


def _labels(path: Path, array: Any) -> Column:
    """Return targets; texts are read at once, because NumPy has several types for them."""
    column = ZarrColumn(path, array)
    if column.dtype.kind in "biuf":
        return column
    return ArrayColumn(column.name, column.read(0, column.shape[0] if column.shape else 0).astype(str).astype(object))


def _files(path: Path) -> list[Path]:
    return [Path(parent, name).absolute() for parent, _, names in os.walk(path) for name in sorted(names)]


FORMAT = Format("a zarr folder", lambda place: any(place.has(name) for name in _MARKERS), open_zarr, order=20)
