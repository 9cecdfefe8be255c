"""Whether datasets can be learned from: shapes, types, and every target's value. Inputs are not read here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.hdf5 import attribute, where
from hpc_dl.data.rows import RowReader
from hpc_dl.data.spec import TaskName
from hpc_dl.errors import DataError

_BLOCK_ROWS = 1 << 20
_MAX_COLOUR_CHANNELS = 4


def check_pair(inputs: h5py.Dataset, targets: h5py.Dataset) -> None:
    """Check that both hold numbers, that there are some, and one target for each input.

    Raises:
        DataError: they do not.
    """
    for dataset, remedy in (
        (inputs, "store the inputs as an array of numbers"),
        (targets, "store classes as integers 0, 1, … and their names in the attribute `class_names`"),
    ):
        if dataset.shape is None or dataset.dtype.kind not in "biuf" or dataset.dtype.itemsize > 8:
            raise DataError.at(
                where(dataset),
                "must hold numbers",
                value=str(dataset.dtype),
                allowed="bool, integers and floats of up to 64 bits",
                remedy=remedy,
            )
        if dataset.size == 0 or dataset.ndim == 0:
            raise DataError.at(
                where(dataset), "holds no samples", value=dataset.shape, remedy="fill it, or name another dataset"
            )
    if len(inputs) != len(targets):
        raise DataError.at(
            where(targets),
            f"has {len(targets)} targets for {len(inputs)} inputs in {inputs.name}",
            remedy="name datasets with one target for each input (`data.inputs`, `data.targets`)",
        )


def channel_axis(inputs: h5py.Dataset, config: DataConfig, own_format: bool) -> Literal["first", "last", "none"]:
    """On which axis the channels of the inputs lie.

    Raises:
        DataError: the inputs look like colour images with the channels last and the configuration says nothing.
    """
    if config.channels != "auto":
        if config.channels == "last" and inputs.ndim < 3:
            raise DataError.at(
                where(inputs), "has no axis to be the last one of an image", value=inputs.shape, allowed="(N, …, C)"
            )
        return config.channels
    if own_format:
        return "first"
    if inputs.ndim == 4 and inputs.shape[-1] <= _MAX_COLOUR_CHANNELS < min(inputs.shape[1:3]):
        raise DataError.at(
            where(inputs),
            "looks like images with the channels last",
            value=inputs.shape,
            allowed="(N, C, H, W)",
            remedy="set `data.channels: last`, or `first` if the channels do come first",
        )
    return "none" if inputs.ndim in (1, 3) else "first"


def infer_task(targets: h5py.Dataset, config: DataConfig) -> TaskName:
    """What the targets are for: as configured, as the file says, else by their type.

    Raises:
        DataError: the targets are not of a type and shape for that task.
    """
    integral = targets.dtype.kind in "biu"
    said = config.task if config.task != "auto" else attribute(targets.file, "task")
    task: TaskName = (
        said if said in ("classification", "regression") else "classification" if integral else "regression"
    )
    if task == "classification":
        if not integral:
            raise DataError.at(
                where(targets),
                "class numbers must be integers",
                value=str(targets.dtype),
                remedy="store them as integers, or set `data.task: regression`",
            )
        if targets.ndim > 1 and targets.size != len(targets):
            raise DataError.at(
                where(targets),
                "must hold one class number for each sample",
                value=targets.shape,
                allowed="(N,) or (N, 1)",
                remedy="store the class number instead of a row of zeros and ones",
            )
    elif targets.ndim > 2:
        raise DataError.at(
            where(targets), "must hold a row of values for each sample", value=targets.shape, allowed="(N,) or (N, K)"
        )
    return task


def check_labels(place: str, reader: RowReader, rows: NDArray[np.intp], num_classes: int | None) -> int:
    """Read all labels of a split and check their range.

    Args:
        place: what a fault names, ``FILE:/dataset``.
        reader: gives the labels.
        rows: the rows of the split.
        num_classes: number of class names; None when there are none.

    Returns:
        The largest label.

    Raises:
        DataError: a label is negative, or has no class name.
    """
    largest = 0
    for start, block in _blocks(reader, rows):
        labels = block.reshape(-1).astype(np.int64)
        wrong = labels < 0 if num_classes is None else (labels < 0) | (labels >= num_classes)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            raise DataError.at(
                place,
                f"label out of range in row {rows[start + first]}",
                value=int(labels[first]),
                allowed="0 and above" if num_classes is None else f"0 to {num_classes - 1} (`class_names`)",
                remedy="number the classes from 0 and give each a name, or leave these rows out",
            )
        largest = max(largest, int(labels.max()))
    return largest


def check_values(place: str, reader: RowReader, rows: NDArray[np.intp]) -> None:
    """Read all target values of a split and check that they are finite.

    Raises:
        DataError: a value is NaN or infinite.
    """
    for start, values in _blocks(reader, rows):
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError.at(
                place,
                f"NaN or infinite target in row {rows[start + int(np.flatnonzero(bad)[0])]}",
                remedy="leave these samples out (`data.splits.indices`) or mend them",
            )


def _blocks(reader: RowReader, rows: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[Any]]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        values = reader.take(rows[start : start + _BLOCK_ROWS])
        yield start, values
