"""HDF5 files with one group per sample: ``/s001/x`` and ``/s001/y``, or ``y`` as an attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import INPUT_NAMES, SPLIT_NAMES, TARGET_NAMES
from hpc_dl.data.files.format import FORMAT as OWN_FORMAT
from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.fixed_length import common_length, resized
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.storage.hdf5 import attribute, open_file
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

_NUM_EXAMINED = 3


class GroupColumn:
    """One dataset of each of many groups; along one axis they may differ in length."""

    rows_together = 1

    def __init__(self, path: Path, groups: list[str], name: str, length: int | None) -> None:
        self.name = f"{path}:/*/{name}"
        self._file = open_file(path)
        self._datasets = [f"{group}/{name}" for group in groups]
        first = _dataset(self._file, self._datasets[0])
        shapes = [_dataset(self._file, dataset).shape for dataset in self._datasets]
        if any(len(shape) != first.ndim for shape in shapes):
            raise DataError.at(
                self.name, "differs in its number of axes between groups", remedy="choose another dataset"
            )
        differing = [axis for axis in range(first.ndim) if len({shape[axis] for shape in shapes}) > 1]
        if len(differing) > 1:
            raise DataError.at(
                self.name, f"differs in shape along the axes {differing}", value=shortened(sorted(set(shapes)), 3),
                remedy="crop or resample them to one shape first",
            )  # fmt: skip
        self._axis = differing[0] if differing else -1
        shape = list(first.shape)
        if differing:
            lengths = [shape[self._axis] for shape in shapes]
            shape[self._axis] = common_length(lengths, length, self._datasets, self.name)
        self.shape, self.dtype = (len(groups), *shape), first.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        rows = np.empty((stop - start, *self.shape[1:]), self.dtype.newbyteorder("="))
        for row, name in enumerate(self._datasets[start:stop]):
            try:
                values = np.asarray(self._file[name][()])
            except OSError as error:
                raise DataError.at(f"{self._file.filename}:/{name}", f"cannot be read: {error}") from None
            rows[row] = (
                values if values.shape == rows.shape[1:] else resized(values, rows.shape[1:][self._axis], self._axis)
            )
        return rows

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return np.concatenate([self.read(int(row), int(row) + 1) for row in rows])

    def close(self) -> None:
        """See :class:`Column`."""
        self._file.close()


def open_groups(path: Path, options: PackOptions) -> Source:
    """Open an HDF5 file with one group per sample, also below groups named after the splits.

    Raises:
        DataError: a group lacks a dataset, or the datasets differ in shape.
    """
    with open_file(path) as file:
        groups_of = _samples(file)
        first = file[next(iter(groups_of.values()))[0]]
        inputs = options.inputs or _usual(path, first, INPUT_NAMES, "--inputs", [key for key in first])
        known = [*first, *first.attrs]
        targets = options.targets or _usual(path, first, TARGET_NAMES, "--targets", known)
        pairs: dict[str, tuple[Column, Column]] = {}
        for split, groups in groups_of.items():
            column = GroupColumn(path, groups, inputs, options.length)
            is_mask = isinstance(first.get(targets), h5py.Dataset) and first[targets].size > 1
            pairs[split] = (
                column,
                GroupColumn(path, groups, targets, options.length)
                if is_mask
                else ArrayColumn(f"{path}:/*/{targets}", np.array([_value(file[group], targets) for group in groups])),
            )
        subjects = None
        if options.group and "" in groups_of:
            subjects = np.array([str(_value(file[group], options.group)) for group in groups_of[""]])
    source = PairedSource(
        path, "HDF5 with one group per sample", pairs, options, [path.absolute()],
        groups=None if subjects is None else ArrayColumn(f"{path}:/*/{options.group}", subjects),
    )  # fmt: skip
    source.notes.append(f"each group is a sample: inputs {inputs}, targets {targets}")
    return source


def _samples(file: h5py.File) -> dict[str, list[str]]:
    """Return the groups that are samples, by split; the key is empty if there are no splits."""
    top = {name: file.get(name) for name in file}
    groups = {name: item for name, item in top.items() if isinstance(item, h5py.Group)}
    splits = {SPLIT_NAMES[name.lower()]: item for name, item in groups.items() if name.lower() in SPLIT_NAMES}
    if "train" in splits:
        return {
            split: [f"{splits[split].name[1:]}/{name}" for name in splits[split]]
            for split in ("train", "val", "test")
            if split in splits
        }
    if len(groups) == 1 and len(top) == 1:  # one group above all
        ((name, item),) = groups.items()
        return {"": [f"{name}/{child}" for child in item]}
    return {"": list(groups)}


def _is_sample(item: Any) -> bool:
    """Whether a group holds a dataset, and a single label or a mask of the same size."""
    if not isinstance(item, h5py.Group):
        return False
    members = [item.get(name) for name in item]
    datasets = [member for member in members if isinstance(member, h5py.Dataset)]
    arrays = [dataset for dataset in datasets if dataset.ndim and dataset.size > 1 and dataset.dtype.kind in "biuf"]
    scalars = [dataset for dataset in datasets if dataset.size == 1]
    masks = len(arrays) > 1 and all(dataset.ndim > 1 for dataset in arrays)
    return len(datasets) == len(members) and bool(arrays) and bool(scalars or masks or len(item.attrs))


def _claims(place: Place) -> bool:
    if not place.is_file(".h5", ".hdf5", ".hdf", ".he5"):
        return False
    try:
        with h5py.File(place.path, "r") as file:
            if attribute(file, "format") == OWN_FORMAT:
                return False
            groups = next(iter(_samples(file).values()), [])
            return len(groups) > 1 and all(_is_sample(file.get(name)) for name in groups[:_NUM_EXAMINED])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return False  # the general reader says what is wrong


def _usual(path: Path, group: h5py.Group, usual: tuple[str, ...], option: str, known: list[str]) -> str:
    for name in usual:
        for candidate in known:
            if candidate.lower() == name:
                return candidate
    raise DataError.at(
        f"{path}:{group.name}",
        f"has nothing with a usual name for {option.removeprefix('--')}",
        allowed=shortened(known, 20),
        remedy=f"specify it with `{option} NAME`",
    )


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise DataError.at(f"{file.filename}:/{name}", "is not a dataset, but other groups have one", remedy="add it")
    return item


def _value(group: h5py.Group, name: str) -> Any:
    """Return the label of a sample, a dataset or an attribute with one value."""
    item = group.get(name)
    value = item[()] if isinstance(item, h5py.Dataset) else attribute(group, name)
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size == 1 else None
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if value is None:
        raise DataError.at(
            f"{group.file.filename}:{group.name}/{name}", "is not a single value", remedy="add the label"
        )
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


FORMAT = Format("HDF5 with one group per sample", _claims, open_groups, order=-10)
