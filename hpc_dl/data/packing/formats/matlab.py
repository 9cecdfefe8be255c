"""MATLAB files: version 7.3, which is HDF5 with reversed axes, and version 5 (also 6 and 7)."""

from __future__ import annotations

import dataclasses
import warnings
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import pair_up
from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.classes import is_whole, too_many
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.formats.hdf5 import open_hdf5
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.storage.available_memory import available_bytes
from hpc_dl.data.storage.hdf5 import attribute, find_dataset, open_file, where
from hpc_dl.errors import DataError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RESAVE = "in MATLAB: `load FILE.mat`, `save('NEW.mat', 'X', 'y', '-v7.3')`"
_UNREADABLE = (
    OSError, ValueError, TypeError, EOFError, KeyError, IndexError, NotImplementedError, MemoryError, OverflowError,
    UnicodeError, AttributeError, zlib.error,
)  # fmt: skip


class ReversedColumn:
    """A variable of a 7.3 file with many samples: the last axis in the file is the first in MATLAB.

    Args:
        dataset: the dataset.
        samples_last: whether the samples are along MATLAB's last axis.
    """

    rows_together = 1

    def __init__(self, dataset: h5py.Dataset, samples_last: bool) -> None:
        self.name, self._last = where(dataset), samples_last
        # The caller closes its file.
        self._file = open_file(dataset.file.filename)
        self._dataset = self._file[dataset.name]
        shape = dataset.shape[::-1]
        self.shape = (shape[-1], *shape[:-1]) if samples_last else shape
        self.dtype = dataset.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        try:
            if self._last:
                rows = np.moveaxis(self._dataset[start:stop].T, -1, 0)
            else:
                rows = self._dataset[..., start:stop].T
        except OSError as error:
            raise DataError.at(self.name, f"cannot be read: {error}", remedy="copy the file again") from None
        return np.ascontiguousarray(rows, self.dtype.newbyteorder("="))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""
        self._file.close()


def open_matlab(path: Path, options: PackOptions) -> Source:
    """Open a MATLAB file of version 5, 6, 7 or 7.3.

    Raises:
        DataError: the file is of another version or damaged, or its variables do not fit together.
    """
    start = Place(path).start(520)
    if _HDF5_SIGNATURE in (start[:8], start[512:520]):
        with open_file(path) as file:
            is_matlab = any("MATLAB_class" in item.attrs for item in file.values() if hasattr(item, "attrs"))
            return _open_7_3(path, file, options) if is_matlab else open_hdf5(path, options)
    if not start.startswith(b"MATLAB 5.0 MAT-file"):
        raise DataError.at(path, "is not a MATLAB file of version 5 to 7.3", remedy=_RESAVE)
    return _open_5(path, options)


def _open_7_3(path: Path, file: h5py.File, options: PackOptions) -> Source:
    names: list[str] = []

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            names.append(name)

    file.visititems(collect)
    sparse = [name for name, item in file.items() if isinstance(item, h5py.Group) and "MATLAB_sparse" in item.attrs]
    for option in (options.inputs, options.targets):
        if option in sparse:
            raise DataError.at(
                f"{path}:{option}", "is a sparse matrix", remedy=f"in MATLAB: `{option} = full({option})`"
            )
    pairs: dict[str, tuple[Column, Column]] = {}
    for split, (inputs_name, targets_name) in pair_up(names, path, options.inputs, options.targets).items():
        inputs, targets = (find_dataset(file, name, "--inputs") for name in (inputs_name, targets_name))
        labels = _flat(_values_7_3(file, targets))
        samples_last = _samples_last(where(inputs), inputs.shape[::-1] if inputs.shape else (), len(labels))
        pairs[split] = (ReversedColumn(inputs, samples_last), ArrayColumn(where(targets), labels))
    groups = None
    if options.group:
        dataset = find_dataset(file, options.group, "--group")
        groups = ArrayColumn(where(dataset), _flat(_values_7_3(file, dataset)))
    return _paired(path, "MATLAB 7.3", pairs, groups, options)


def _values_7_3(file: h5py.File, dataset: h5py.Dataset) -> NDArray[Any]:
    """Return a variable as MATLAB shows it: numbers, or texts of a cell or char array."""
    if dataset.size and dataset.size * dataset.dtype.itemsize > available_bytes() / 4:
        raise DataError.at(where(dataset), "exceeds the memory", value=dataset.shape, remedy="divide the file")
    try:
        values = np.asarray(dataset[()]).T
        if h5py.check_ref_dtype(dataset.dtype):
            cells = [np.asarray(file[reference][()]).reshape(-1) for reference in values.reshape(-1)]
            return np.array(["".join(map(chr, cell.tolist())) for cell in cells], dtype=object)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise DataError.at(where(dataset), f"cannot be read: {error}", remedy=_RESAVE) from None
    if attribute(dataset, "MATLAB_class") == "char" and values.ndim == 2:
        return np.array(["".join(map(chr, row)).rstrip() for row in values.tolist()], dtype=object)
    return values


def _open_5(path: Path, options: PackOptions) -> Source:
    matlab = require("scipy.io", "SciPy", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {name: shape for name, shape, _ in matlab.whosmat(path)}
            pairs_of = pair_up(list(shapes), path, options.inputs, options.targets)
            chosen = [name for pair in pairs_of.values() for name in pair] + ([options.group] if options.group else [])
            num_bytes = sum(8 * prod(shapes.get(name, ())) for name in chosen)
            if num_bytes > available_bytes() / 3:
                raise DataError.at(
                    path, f"needs {num_bytes / 1e9:,.0f} GB of memory, because version 5 cannot be read in parts",
                    remedy=_RESAVE,
                )  # fmt: skip
            values = matlab.loadmat(path, variable_names=chosen)
    except _UNREADABLE as error:
        raise DataError.at(path, f"cannot be read as a MATLAB file: {error}", remedy="copy or save it again") from None
    columns: dict[str, tuple[Column, Column]] = {}
    for split, (inputs_name, targets_name) in pairs_of.items():
        labels = _flat(_plain(path, values, targets_name))
        inputs = _plain(path, values, inputs_name)
        if _samples_last(f"{path}:{inputs_name}", inputs.shape, len(labels)):
            inputs = np.moveaxis(inputs, -1, 0)
        columns[split] = (ArrayColumn(f"{path}:{inputs_name}", inputs), ArrayColumn(f"{path}:{targets_name}", labels))
    groups = (
        ArrayColumn(f"{path}:{options.group}", _flat(_plain(path, values, options.group))) if options.group else None
    )
    return _paired(path, "MATLAB 5", columns, groups, options)


def _plain(path: Path, values: Mapping[str, Any], name: str) -> NDArray[Any]:
    """Return a variable of a version 5 file as numbers, or as texts of a cell or char array."""
    if name not in values:
        raise DataError.at(f"{path}:{name}", "does not exist", allowed=", ".join(n for n in values if n[0] != "_"))
    value = values[name]
    if hasattr(value, "toarray"):  # sparse
        if prod(value.shape) * value.dtype.itemsize > available_bytes() / 3:
            raise DataError.at(f"{path}:{name}", "is a sparse matrix that exceeds the memory", value=value.shape)
        value = value.toarray()
    if value.dtype.kind == "O":
        cells = [cell.item() if isinstance(cell, np.ndarray) and cell.size == 1 else cell for cell in value.reshape(-1)]
        return np.array([cell if isinstance(cell, str) else str(cell) for cell in cells], dtype=object)
    return np.asarray(value)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """Return one value per sample as (N,), because MATLAB has no vectors but 1 x N and N x 1."""
    return values.reshape(-1) if values.ndim == 2 and 1 in values.shape else values


def _samples_last(name: str, shape: tuple[int, ...], num_labels: int) -> bool:
    """Whether the samples are along the last axis, as in images of (H, W, C, N)."""
    if shape[:1] == (num_labels,):
        return False
    if len(shape) > 1 and shape[-1] == num_labels:
        return True
    raise DataError.at(
        name,
        f"has no axis of {num_labels} samples, as the targets have",
        value=shape,
        remedy="choose variables that belong together with `--inputs` and `--targets`",
    )


def _paired(
    path: Path, kind: str, pairs: Mapping[str, tuple[Column, Column]], groups: Column | None, options: PackOptions
) -> Source:
    # MATLAB stores class numbers as doubles, usually from 1.
    targets = next(iter(pairs.values()))[1]
    if options.task in ("auto", "classification") and targets.dtype.kind in "biuf" and len(targets.shape) == 1:
        values = targets.read(0, targets.shape[0])
        if is_whole(values.astype(np.float64)).all() and not too_many(len(np.unique(values)), len(values)):
            options = dataclasses.replace(options, classes="remap")
    source = PairedSource(path, kind, pairs, options, [path.absolute()], groups=groups)
    if options.classes == "remap" and source.task == "classification":
        source.notes.append("whole numbers are classes; `--task regression` keeps them as numbers")
    return source


FORMAT = Format(".mat (version 5 to 7.3)", lambda place: place.is_file(".mat"), open_matlab)
