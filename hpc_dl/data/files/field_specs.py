"""The :class:`FieldSpec` of each dataset: what it contributes to a sample. No values are read."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.channels import channel_axis
from hpc_dl.data.files.splits import Split, num_samples_of, offsets_of
from hpc_dl.data.files.task_inference import infer_task
from hpc_dl.data.spec import NODES, PER_POSITION, WITH_CLASSES, FieldSpec, TaskName, Window
from hpc_dl.data.storage.hdf5 import FoundDataset, find_dataset, type_name, where
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
    inputs = [find_dataset(file, path, "data.inputs") for path in split.inputs]
    targets = [find_dataset(file, path, "data.targets") for path in split.targets]
    for dataset in (*inputs, *targets):
        _check_numbers(dataset, _INPUTS_REMEDY if dataset in inputs else _TARGETS_REMEDY)
        _check_offsets(dataset)
    _check_lengths(inputs, targets, config)
    input_fields = tuple(
        _input_field(name, dataset, config, own_format)
        for name, dataset in zip(config.input_names, inputs, strict=True)
    )
    task = infer_task(targets[0] if targets else None, input_fields, config)
    if task in PER_POSITION:
        _check_steps(inputs[config.input_names.index(NODES) if NODES in config.input_names else 0], targets[0])
    names = config.target_names
    if names and config.targets is None:
        names = tuple(f"next {name}" for name in config.input_names)
    target_fields = tuple(
        _target_field(name, dataset, config, task if number == 0 else None, input_fields[0])
        for number, (name, dataset) in enumerate(zip(names, targets, strict=True))
    )
    return input_fields, target_fields, task


def _input_field(name: str, dataset: FoundDataset, config: DataConfig, own_format: bool) -> FieldSpec:
    ragged = offsets_of(dataset) is not None
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
    name: str, dataset: FoundDataset, config: DataConfig, task: TaskName | None, first_input: FieldSpec
) -> FieldSpec:
    """Describe a target; ``task`` is None for all but the first.

    Targets after the first keep their shape: integers become int64, other numbers float32.
    """
    integral = dataset.dtype.kind in "biu" if task is None else task in WITH_CLASSES
    ragged = offsets_of(dataset) is not None
    field = FieldSpec(name, dataset.shape[1:], "int64" if integral else "float32", ragged=ragged)
    if config.windows is not None:
        return _windowed(field, config, config.steps_ahead)
    if task == "classification":
        return replace(field, shape=())
    if task in PER_POSITION and not ragged:
        if config.crop is not None:
            field = _cropped(field, dataset, config.crop)
        # Masks (N, 1, H, W) of images (N, C, H, W): the class of a pixel has no channel.
        if len(field.shape) == len(first_input.shape) and field.shape[:1] == (1,):
            field = replace(field, shape=field.shape[1:])
        return field
    return field if ragged else replace(field, shape=field.shape or (1,))


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
    stored = dataset.shape[1:]
    if len(crop) > len(stored) or any(np.array(crop) > stored[len(stored) - len(crop) :]):
        raise DataError.at(
            "data.crop",
            f"is larger than the samples of {where(dataset)}",
            value=crop,
            allowed=f"up to {stored}",
            remedy="lower it, or remove it to train on whole samples",
        )
    return replace(field, shape=(*stored[: len(stored) - len(crop)], *crop), crop=tuple(crop))


def _check_numbers(dataset: FoundDataset, remedy: str) -> None:
    """Check that a dataset holds at least one number, and numbers only."""
    if dataset.shape is not None and (dataset.dtype.kind not in "biuf" or dataset.dtype.itemsize > 8):
        raise DataError.at(
            where(dataset),
            "must contain numbers",
            value=type_name(dataset),
            allowed="bool, integers, and floats of up to 64 bits",
            remedy=remedy,
        )
    if not dataset.shape or dataset.size == 0:
        raise DataError.at(
            where(dataset), "contains no samples", value=dataset.shape, remedy="fill it, or choose another dataset"
        )


def _check_lengths(inputs: list[FoundDataset], targets: list[FoundDataset], config: DataConfig) -> None:
    """Check that every dataset has as many samples as the first."""
    ahead = config.steps_ahead
    expected = num_samples_of(inputs[0], config.windows, ahead)
    for dataset in (*inputs[1:], *targets):
        count = num_samples_of(dataset, config.windows, ahead)
        if config.windows is not None and dataset not in inputs and len(dataset) != len(inputs[0]):
            expected, count = len(inputs[0]), len(dataset)
        if count != expected:
            role = "inputs" if dataset in inputs else "targets"
            raise DataError.at(
                where(dataset),
                f"has {count} {role} for {expected} inputs in {inputs[0].name}",
                remedy="choose datasets with one target per input (`data.inputs`, `data.targets`)"
                if role == "targets"
                else "choose datasets with the same number of samples (`data.inputs`)",
            )


def _check_steps(inputs: FoundDataset, targets: FoundDataset) -> None:
    """Check that samples of different lengths have one class per step or node."""
    input_offsets, target_offsets = offsets_of(inputs), offsets_of(targets)
    if input_offsets is None or target_offsets is None:
        return
    num_steps, num_classes = np.diff(input_offsets[()]), np.diff(target_offsets[()])
    differing = np.flatnonzero(num_steps != num_classes)
    if len(differing):
        sample = int(differing[0])
        raise DataError.at(
            where(target_offsets),
            f"sample {sample} has {num_classes[sample]} classes, but {num_steps[sample]} steps in {inputs.name}",
            remedy="store one class per step, or set `data.task: sequence_to_sequence` if the lengths may differ",
        )


def _check_offsets(dataset: FoundDataset) -> None:
    offsets = offsets_of(dataset)
    if offsets is None:
        return
    remedy = f"write the first row of each sample in {dataset.name}, then the number of rows"
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise DataError.at(
            where(offsets),
            "must be N + 1 integers for N samples",
            value=f"{offsets.dtype} of shape {offsets.shape}",
            remedy=remedy,
        )
    values = offsets[()].astype(np.int64)
    descends = bool((np.diff(values) < 0).any())
    if values[0] != 0 or values[-1] != len(dataset) or descends:
        raise DataError.at(
            where(offsets),
            f"must ascend from 0 to {len(dataset)}, the number of rows of {dataset.name}",
            value=f"{values[0]} … {values[-1]}" + (", descending in between" if descends else ""),
            remedy=remedy,
        )
