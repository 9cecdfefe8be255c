"""The :class:`FieldSpec` of each dataset: what it contributes to a sample. No values are read."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.channels import channel_axis
from hpc_dl.data.files.class_numbering import text_labels_error
from hpc_dl.data.files.header_checks import (
    check_lengths,
    check_nodes,
    check_not_matlab,
    check_numbers,
    check_offsets,
    check_steps,
)
from hpc_dl.data.files.splits import Split, offsets_of
from hpc_dl.data.files.task_inference import infer_task
from hpc_dl.data.spec import NODES, PER_POSITION, WITH_CLASSES, FieldSpec, Labels, TaskName, Window
from hpc_dl.data.storage.hdf5 import FoundDataset, find_dataset, where
from hpc_dl.errors import DataError, Fault

#: Fields of the inputs, fields of the targets, and the task.
SampleFields = tuple[tuple[FieldSpec, ...], tuple[FieldSpec, ...], TaskName]

_INPUTS_REMEDY = "store the inputs as an array of numbers"
_TARGETS_REMEDY = "store classes as integers 0, 1, … and their names in the attribute `class_names`"


def describe_fields(file: h5py.File, split: Split, config: DataConfig, own_format: bool) -> SampleFields:
    """Describe the samples of a split, and check shapes and types of its datasets.

    Returns:
        The fields of the inputs, those of the targets, and the task.

    Raises:
        DataError: a dataset cannot be used for training, or two do not belong together.
    """
    group = split.group
    inputs = [find_dataset(file, path, "data.inputs", group=group, taken=split.targets) for path in split.inputs]
    targets = [find_dataset(file, path, "data.targets", group=group, taken=split.inputs) for path in split.targets]
    for dataset in (*inputs, *targets):
        if not (dataset in targets[:1] and _are_text_labels(dataset, config)):
            check_numbers(dataset, _INPUTS_REMEDY if dataset in inputs else _TARGETS_REMEDY)
        check_not_matlab(dataset, config)
        check_offsets(dataset)
    if config.splits.nodes is None:
        check_lengths(inputs, targets, config)
    else:
        check_nodes(inputs, targets, config)
    input_fields = tuple(
        _input_field(name, dataset, config, own_format)
        for name, dataset in zip(config.input_names, inputs, strict=True)
    )
    task = infer_task(targets[0] if targets else None, input_fields, config)
    if task in PER_POSITION:
        check_steps(inputs[config.input_names.index(NODES) if NODES in config.input_names else 0], targets[0])
    names = config.target_names
    if names and config.targets is None:
        names = tuple(f"next {name}" for name in config.input_names)
    target_fields = tuple(
        _target_field(name, dataset, config, task if number == 0 else None, input_fields[0], inputs[0])
        for number, (name, dataset) in enumerate(zip(names, targets, strict=True))
    )
    return input_fields, target_fields, task


def _input_field(name: str, dataset: FoundDataset, config: DataConfig, own_format: bool) -> FieldSpec:
    ragged = offsets_of(dataset) is not None or config.splits.nodes is not None
    field = FieldSpec(name, dataset.shape[1:], dataset.dtype.newbyteorder("=").name, ragged=ragged)
    if config.windows is not None:
        return _windowed(field, config)
    if ragged:
        return field
    setting = "first" if own_format and config.channels == "auto" else config.channels
    channels = channel_axis(dataset.shape, setting, where=where(dataset), option="data.channels:")
    if isinstance(channels, Fault):
        raise DataError(channels)
    field = replace(field, channels=channels)
    if config.crop is not None:
        field = _cropped(field, dataset, config.crop)
    if channels == "last":
        return replace(field, shape=(field.shape[-1], *field.shape[:-1]))
    return replace(field, shape=(1, *field.shape)) if channels == "none" else field


def _target_field(
    name: str,
    dataset: FoundDataset,
    config: DataConfig,
    task: TaskName | None,
    first_input: FieldSpec,
    input_dataset: FoundDataset,
) -> FieldSpec:
    """Describe a target; ``task`` is None for all but the first.

    Targets after the first keep their shape: integers become int64, other numbers float32.
    """
    integral = dataset.dtype.kind in "biu" if task is None else task in WITH_CLASSES
    ragged = offsets_of(dataset) is not None or config.splits.nodes is not None
    field = FieldSpec(name, dataset.shape[1:], "int64" if integral else "float32", ragged=ragged)
    if task in WITH_CLASSES:
        axis = _one_hot_axis(dataset, config, task, first_input, input_dataset, ragged=ragged)
        labels = Labels(one_hot=axis, ignore=config.ignore_label)
        if labels != Labels() or dataset.dtype.kind not in "biu":
            field = replace(field, labels=labels)
        if axis is not None:
            stored = dataset.shape[1:]
            field = replace(field, shape=stored[1:] if axis == 1 else stored[:-1])
    if config.windows is not None:
        return _windowed(field, config, config.steps_ahead)
    if task == "classification":
        return replace(field, shape=())
    if task in PER_POSITION and not ragged:
        if config.crop is not None:
            field = _cropped(field, dataset, config.crop)
        # Masks (N, 1, H, W) or (N, H, W, 1): the class of a pixel has no channel.
        if len(field.shape) == len(first_input.shape) and field.shape[:1] == (1,):
            field = replace(field, shape=field.shape[1:])
        elif field.shape == (*first_input.shape[1:], 1) and config.crop is None:
            field = replace(field, shape=field.shape[:-1])
        return field
    return field if ragged else replace(field, shape=field.shape or (1,))


def _one_hot_axis(
    dataset: FoundDataset,
    config: DataConfig,
    task: TaskName,
    first_input: FieldSpec,
    input_dataset: FoundDataset,
    *,
    ragged: bool,
) -> int | None:
    """Return the axis of the stored targets along which they would be one-hot: 1, -1 or None."""
    if task == "classification" or (task in PER_POSITION and (ragged or config.windows is not None)):
        return -1 if dataset.ndim == 2 and dataset.shape[1] > 1 else None
    if task not in PER_POSITION or dataset.ndim != len(first_input.shape) + 1:
        return None
    stored = input_dataset.shape[1:]
    positions = {"first": stored[1:], "last": stored[:-1], "none": stored}[first_input.channels]
    if dataset.shape[1] > 1 and dataset.shape[2:] == positions:
        return 1
    return -1 if dataset.shape[-1] > 1 and dataset.shape[1:-1] == positions else None


def _are_text_labels(dataset: FoundDataset, config: DataConfig) -> bool:
    """Whether a dataset holds texts that ``data.classes`` numbers.

    Raises:
        DataError: it holds texts that the section does not number.
    """
    if not h5py.check_string_dtype(dataset.dtype) or not dataset.shape or not dataset.size:
        return False
    if config.classes == "numbered":
        raise text_labels_error(dataset, where(dataset))
    return True


def _windowed(field: FieldSpec, config: DataConfig, shift: int = 0) -> FieldSpec:
    assert config.windows is not None
    length, stride = config.windows.length, config.windows.stride or config.windows.length
    return replace(field, shape=(length, *field.shape), window=Window(length, stride, shift))


def _cropped(field: FieldSpec, dataset: FoundDataset, crop: list[int]) -> FieldSpec:
    if field.channels == "last":
        raise DataError.at(
            where(dataset),
            "has its channels last, but crops need them first",
            value=dataset.shape,
            allowed="(N, C, …)",
            remedy="convert the file with `hpc-dl data pack`, which stores channels first, or remove `data.crop`",
        )
    stored = field.shape
    if len(crop) > len(stored) or any(np.array(crop) > stored[len(stored) - len(crop) :]):
        raise DataError.at(
            "data.crop",
            f"is larger than the samples of {where(dataset)}",
            value=crop,
            allowed=f"up to {stored}",
            remedy="lower it, or remove it to train on whole samples",
        )
    return replace(field, shape=(*stored[: len(stored) - len(crop)], *crop), crop=tuple(crop))
