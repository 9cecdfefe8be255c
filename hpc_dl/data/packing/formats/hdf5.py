"""HDF5 files as a source: our own format, or any file with datasets of samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import pair_up
from hpc_dl.data.files.format import FORMAT as OWN_FORMAT
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.storage.dependencies import linked_datasets
from hpc_dl.data.storage.hdf5 import attribute, find_dataset, open_file, reports_damage, where
from hpc_dl.data.storage.rows import RowReader, open_rows
from hpc_dl.errors import DataError

_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nc")
_ROOT_ATTRIBUTES = ("source", "task", "license", "description", "url", "provenance", "shared")
# Larger chunks are not kept in memory, but decoded several times.
_MAX_CHUNK_BYTES = 256 << 20


class HDF5Column:
    """A dataset, read as in training."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.name = where(dataset)
        self.shape = tuple(dataset.shape or ())
        self.dtype = dataset.dtype
        self.rows_together = 1
        self._texts = None
        self._rows: RowReader | None = None
        if self.dtype.kind == "O" and not h5py.check_string_dtype(dataset.dtype):
            raise DataError.at(
                self.name,
                "contains references or rows of different lengths",
                allowed="numbers or texts",
                remedy="choose another dataset with `--inputs` and `--targets`, or store one group per sample",
            )
        if h5py.check_string_dtype(dataset.dtype):
            self._texts = dataset.asstr(errors="backslashreplace")[()]
        elif self.shape and self.dtype.kind in "biuf":
            self._rows = open_rows(dataset.file.filename, dataset.name, threads=len(os.sched_getaffinity(0)))
            if self._rows.rows_together * dataset.nbytes <= _MAX_CHUNK_BYTES * len(dataset):
                self.rows_together = self._rows.rows_together

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        if self._texts is not None:
            return np.asarray(self._texts[start:stop])
        assert self._rows is not None
        return self._rows.take(np.arange(start, stop))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None if self._rows is None else self._rows.take(rows)

    def close(self) -> None:
        """See :class:`Column`."""
        if self._rows is not None:
            self._rows.close()


@reports_damage
def open_hdf5(path: Path, options: PackOptions) -> Source:
    """Open an HDF5 file.

    Raises:
        DataError: the file cannot be opened, or does not contain the inputs and targets.
    """
    with open_file(path) as file:
        own_format = attribute(file, "format") == OWN_FORMAT
        names_of = pair_up([name for name, _ in linked_datasets(file)], path, options.inputs, options.targets)
        pairs_of = {
            split: (
                find_dataset(file, names[0], "--inputs", taken=names[1:]),
                find_dataset(file, names[1], "--targets", taken=names[:1]),
            )
            for split, names in names_of.items()
        }
        inputs, targets = next(iter(pairs_of.values()))
        stored = {name: attribute(file, name) for name in _ROOT_ATTRIBUTES}
        stored |= {"input_units": attribute(inputs, "units"), "target_units": attribute(targets, "units")}
        attributes: dict[str, Any] = {key: value for key, value in stored.items() if isinstance(value, str) and value}
        if attributes.get("task") not in ("classification", "regression", "segmentation"):
            attributes.pop("task", None)
        names = attribute(targets, "class_names")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            attributes["class_names"] = names
        groups: Column | None = None
        if options.group:
            groups = HDF5Column(find_dataset(file, options.group, "--group"))
        columns: dict[str, tuple[Column, Column]] = {
            split: (HDF5Column(pair[0]), HDF5Column(pair[1])) for split, pair in pairs_of.items()
        }
        files = sorted(
            {path.absolute(), *(Path(d.file.filename).absolute() for pair in pairs_of.values() for d in pair)}
        )
    return PairedSource(
        path, "HDF5", columns, options, files, own_format=own_format, groups=groups, attributes=attributes
    )


FORMAT = Format(" ".join(_SUFFIXES), lambda place: place.is_file(*_SUFFIXES), open_hdf5, order=0)
