"""Whether datasets can be learned from: shapes, types, and every target's value. Inputs are not
read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.splits import offsets_of
from hpc_dl.data.spec import (
    PER_POSITION,
    TASKS,
    WITH_CLASSES,
    WITHOUT_TARGETS,
    FieldSpec,
    TaskName,
    input_kind_of,
    per_position_task,
)
from hpc_dl.data.storage.hdf5 import attribute, type_name, where
from hpc_dl.data.storage.rows import RowReader, take_span
from hpc_dl.errors import DataError

Rows = NDArray[np.intp] | range

_MAX_COLOR_CHANNELS = 4


def check_numbers(dataset: h5py.Dataset, remedy: str) -> None:
    """Check that a dataset holds numbers, and some.

    Args:
        dataset: any.
        remedy: what a dataset of its role should hold.

    Raises:
        DataError: it does not.
    """
    if dataset.shape is not None and (dataset.dtype.kind not in "biuf" or dataset.dtype.itemsize > 8):
        raise DataError.at(
            where(dataset),
            "must hold numbers",
            value=type_name(dataset),
            allowed="bool, integers and floats of up to 64 bits",
            remedy=remedy,
        )
    if not dataset.shape or dataset.size == 0:
        raise DataError.at(
            where(dataset), "holds no samples", value=dataset.shape, remedy="fill it, or name another dataset"
        )


def channel_axis(inputs: h5py.Dataset, config: DataConfig, own_format: bool) -> Literal["first", "last", "none"]:
    """On which axis the channels of the inputs lie.

    Raises:
        DataError: the inputs look like color images with the channels last and the configuration
            says nothing.
    """
    if config.channels != "auto":
        if config.channels == "last" and inputs.ndim < 3:
            raise DataError.at(
                where(inputs), "has no axis to be the last one of an image", value=inputs.shape, allowed="(N, …, C)"
            )
        return config.channels
    if own_format:
        return "first"
    if inputs.ndim == 4 and inputs.shape[-1] <= _MAX_COLOR_CHANNELS < min(inputs.shape[1:3]):
        raise DataError.at(
            where(inputs),
            "looks like images with the channels last",
            value=inputs.shape,
            allowed="(N, C, H, W)",
            remedy="set `data.channels: last`, or `first` if the channels do come first",
        )
    return "none" if inputs.ndim in (1, 3) else "first"


def infer_task(targets: h5py.Dataset | None, inputs: Sequence[FieldSpec], config: DataConfig) -> TaskName:
    """What the targets are for: as configured, as the file says, else by their type.

    Args:
        targets: the first dataset of them; None where there are none.
        inputs: what the inputs give for each sample.
        config: the ``data`` section.

    Raises:
        DataError: the targets are not of a type and shape for that task.
    """
    if targets is None:
        assert config.task in WITHOUT_TARGETS  # checked by DataConfig
        return config.task
    integral = targets.dtype.kind in "biu"
    by_step = config.windows is not None or offsets_of(targets) is not None
    said = config.task if config.task != "auto" else attribute(targets.file, "task")
    per_position = per_position_task(inputs, predicts_next=config.windows is not None and config.targets is None)
    if said in PER_POSITION and said != per_position:
        # A stream's own task is that of its next steps; windows with targets of their own have
        # another.
        if config.task != "auto" or config.windows is None:
            raise DataError.at(
                "data.task" if config.task != "auto" else f"{targets.file.filename}: attribute `task`",
                f"does not fit inputs of the kind {input_kind_of(inputs)}",
                value=said,
                allowed=f"{per_position} for one class at each position",
                remedy=f"set `data.task: {per_position}`",
            )
        said = per_position
    if said in TASKS:
        task: TaskName = said
    elif integral:
        task = per_position if by_step else "classification"
    else:
        task = "regression"
    if task in WITH_CLASSES and not integral:
        raise DataError.at(
            where(targets),
            "class numbers must be integers",
            value=str(targets.dtype),
            remedy="store them as integers, or set `data.task: regression`",
        )
    if task == "multilabel" and (by_step or targets.ndim != 2):
        raise DataError.at(
            where(targets), "must hold a row of 0 and 1 for each sample", value=targets.shape, allowed="(N, K)"
        )
    if task == "sequence_to_sequence" and offsets_of(targets) is None:
        raise DataError.at(
            where(targets),
            "must hold sequences of their own lengths",
            value=targets.shape,
            remedy=f"write where each begins in {targets.name}_offsets",
        )
    if task == "classification":
        if by_step:
            raise DataError.at(
                where(targets),
                "has one class for each step of a sample",
                value=task,
                remedy=f"set `data.task: {per_position}`",
            )
        if targets.ndim > 1 and targets.size != len(targets):
            raise DataError.at(
                where(targets),
                "must hold one class number for each sample",
                value=targets.shape,
                allowed="(N,) or (N, 1)",
                remedy="store the class number instead of a row of zeros and ones; several labels of a sample are "
                f"`data.task: multilabel`, one class for each position is `data.task: {per_position}`",
            )
    elif task == "regression" and integral and attribute(targets, "class_names") is not None:
        raise DataError.at(
            "data.task",
            f"{targets.file.filename} names classes, whose numbers are no values to be fitted",
            value="regression",
            remedy="leave it out for classification, or remove the attribute `class_names`",
        )
    elif task == "regression" and targets.ndim > 2 and not by_step:
        raise DataError.at(
            where(targets), "must hold a row of values for each sample", value=targets.shape, allowed="(N,) or (N, K)"
        )
    return task


def check_labels(place: str, reader: RowReader, pieces: Iterable[Rows], num_classes: int | None) -> int:
    """Read the labels of a split and check their range.

    Args:
        place: what a fault names, ``FILE:/dataset``.
        reader: gives the labels.
        pieces: the rows to check, so many at a time as fit in memory.
        num_classes: number of class names; None when there are none.

    Returns:
        The largest label.

    Raises:
        DataError: a label is negative, or has no class name.
    """
    largest = 0
    most = np.inf if num_classes is None else num_classes - 1
    for rows in pieces:
        labels = _taken(reader, rows)
        largest = max(largest, int(labels.max()))
        if labels.min() < 0 or largest > most:
            values = labels.reshape(len(rows), -1)
            first, column = np.argwhere((values < 0) | (values > most))[0]
            raise DataError.at(
                place,
                f"label out of range in row {rows[first]}",
                value=int(values[first, column]),
                allowed="0 and above" if num_classes is None else f"0 to {num_classes - 1} (`class_names`)",
                remedy="number the classes from 0 and give each a name, or leave these rows out",
            )
    return largest


def check_values(place: str, reader: RowReader, pieces: Iterable[Rows]) -> None:
    """Read target values of a split and check that they are finite; arguments as of
    :func:`check_labels`.

    Raises:
        DataError: a value is NaN or infinite.
    """
    for rows in pieces:
        values = _taken(reader, rows)
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError.at(
                place,
                f"NaN or infinite target in row {rows[int(np.flatnonzero(bad)[0])]}",
                remedy="leave these samples out (`data.splits.indices`) or mend them",
            )


def _taken(reader: RowReader, rows: Rows) -> NDArray[Any]:
    return take_span(reader, rows.start, rows.stop) if isinstance(rows, range) else reader.take(rows)
