"""The task of a data set: as configured, as the file says, or by the type of its targets."""

from __future__ import annotations

from collections.abc import Sequence

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.splits import offsets_of
from hpc_dl.data.spec import (
    PER_POSITION,
    TASKS,
    WITHOUT_TARGETS,
    FieldSpec,
    TaskName,
    input_kind_of,
    per_position_task,
)
from hpc_dl.data.storage.hdf5 import FoundDataset, attribute, where
from hpc_dl.errors import DataError


def infer_task(targets: FoundDataset | None, inputs: Sequence[FieldSpec], config: DataConfig) -> TaskName:
    """Return the task, and check that type and shape of the targets fit it.

    The configuration decides, then the file's attribute ``task``, then the type of the targets:
    integers are classes, other numbers are values.

    Args:
        targets: the first dataset of targets; None if there are none.
        inputs: the input fields of a sample.
        config: the ``data`` section.

    Raises:
        DataError: the targets do not fit the task.
    """
    if targets is None:
        assert config.task in WITHOUT_TARGETS  # DataConfig requires targets for all other tasks
        return config.task
    integral = targets.dtype.kind in "biu" or config.classes != "numbered"
    by_step = config.windows is not None or config.splits.nodes is not None or offsets_of(targets) is not None
    predicts_next = config.windows is not None and config.targets is None
    per_position = per_position_task(inputs, predicts_next=predicts_next)
    task: TaskName
    if (requested := _requested_task(targets, inputs, config, per_position)) is not None:
        task = requested
    elif integral:
        task = per_position if by_step else "classification"
    else:
        task = "regression"
    _check_targets_fit(task, targets, per_position, integral=integral, by_step=by_step)
    return task


def _requested_task(
    targets: FoundDataset, inputs: Sequence[FieldSpec], config: DataConfig, per_position: TaskName
) -> TaskName | None:
    """The task that the configuration or the file names; None if neither does."""
    task = config.task if config.task != "auto" else attribute(targets.opened, "task")
    if task not in TASKS:
        return None
    if task not in PER_POSITION or task == per_position:
        return task
    # A stream's own task is that of its next steps; windows with separate targets have another.
    if config.task == "auto" and config.windows is not None:
        return per_position
    raise DataError.at(
        "data.task" if config.task != "auto" else f"{targets.opened.filename}: attribute `task`",
        f"does not fit inputs of kind {input_kind_of(inputs)}",
        value=task,
        allowed=f"{per_position} for one class at each position",
        remedy=f"set `data.task: {per_position}`",
    )


def _check_targets_fit(
    task: TaskName, targets: FoundDataset, per_position: TaskName, *, integral: bool, by_step: bool
) -> None:
    if task in ("language_modeling", "sequence_to_sequence") and not integral:
        raise DataError.at(
            where(targets),
            f"class numbers must be integers for {task}",
            value=str(targets.dtype),
            remedy="store them as integers, or set `data.task: regression`",
        )
    if task == "multilabel" and (by_step or targets.ndim != 2):
        raise DataError.at(
            where(targets),
            "must contain one row of zeros and ones per sample for multilabel",
            value=targets.shape,
            allowed="(N, K) for K labels",
            remedy="store such rows, or set `data.task` to another task",
        )
    if task == "sequence_to_sequence" and offsets_of(targets) is None:
        raise DataError.at(
            where(targets),
            "has no offsets, but target sequences may each have a different length",
            value=targets.shape,
            remedy=f"write the start of each sequence and the end, N + 1 integers, to {targets.name}_offsets",
        )
    if task == "classification":
        if by_step:
            raise DataError.at(
                where(targets),
                "has one class per step, not one per sample",
                value=task,
                allowed=per_position,
                remedy=f"set `data.task: {per_position}`",
            )
        if targets.ndim > 2 and targets.size != len(targets):  # two axes may hold one-hot rows
            raise DataError.at(
                where(targets),
                "must contain one class number per sample",
                value=targets.shape,
                allowed="(N,) or (N, 1), or one-hot rows (N, K)",
                remedy=f"for one class per position set `data.task: {per_position}`",
            )
    elif task == "regression" and targets.dtype.kind in "biu" and attribute(targets, "class_names") is not None:
        raise DataError.at(
            "data.task",
            f"regression cannot fit class numbers, and {targets.opened.filename} names classes",
            value="regression",
            remedy="omit it for classification, or remove the attribute `class_names`",
        )
    elif task == "regression" and targets.ndim > 2 and not by_step:
        raise DataError.at(
            where(targets),
            "must contain one row of values per sample for regression",
            value=targets.shape,
            allowed="(N,) or (N, K)",
            remedy="flatten each target to a row, or set `data.task` to another task",
        )
