"""From the datasets of a split to what they give for each sample: the :class:`FieldSpec` of each."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.checks import channel_axis, check_numbers, infer_task
from hpc_dl.data.files.splits import Part, num_samples_of, offsets_of
from hpc_dl.data.spec import NODES, PER_POSITION, WITH_CLASSES, FieldSpec, TaskName, Window
from hpc_dl.data.storage.hdf5 import find_dataset, where
from hpc_dl.errors import DataError

_INPUTS_REMEDY = "store the inputs as an array of numbers"
_TARGETS_REMEDY = "store classes as integers 0, 1, … and their names in the attribute `class_names`"


def describe(
    file: h5py.File, part: Part, config: DataConfig, own_format: bool
) -> tuple[tuple[FieldSpec, ...], tuple[FieldSpec, ...], TaskName]:
    """What the datasets of a split give; shapes and types are checked, values are not read.

    Returns:
        The fields of the inputs, those of the targets, and the task.

    Raises:
        DataError: a dataset cannot be learned from, or two do not belong together.
    """
    inputs = [find_dataset(file, path, "data.inputs") for path in part.inputs]
    targets = [find_dataset(file, path, "data.targets") for path in part.targets]
    for dataset in (*inputs, *targets):
        check_numbers(dataset, _INPUTS_REMEDY if dataset in inputs else _TARGETS_REMEDY)
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


def _input_field(name: str, dataset: h5py.Dataset, config: DataConfig, own_format: bool) -> FieldSpec:
    ragged = offsets_of(dataset) is not None
    field = FieldSpec(name, dataset.shape[1:], dataset.dtype.newbyteorder("=").name, ragged=ragged)
    if config.windows is not None:
        return _windows(field, config)
    if ragged:
        return field
    channels = channel_axis(dataset, config, own_format)
    field = replace(field, channels=channels)
    if config.crop is not None:
        field = _cropped(field, dataset, config.crop)
    if channels == "last":
        return replace(field, shape=(field.shape[-1], *field.shape[:-1]))
    return replace(field, shape=(1, *field.shape)) if channels == "none" else field


def _target_field(
    name: str, dataset: h5py.Dataset, config: DataConfig, task: TaskName | None, first_input: FieldSpec
) -> FieldSpec:
    """A target; further ones (``task`` None) come as they are, integers as int64 and others as
    float32.
    """
    integral = dataset.dtype.kind in "biu" if task is None else task in WITH_CLASSES
    ragged = offsets_of(dataset) is not None
    field = FieldSpec(name, dataset.shape[1:], "int64" if integral else "float32", ragged=ragged)
    if config.windows is not None:
        return _windows(field, config, config.steps_ahead)
    if task == "classification":
        return replace(field, shape=())
    if task in PER_POSITION and not ragged:
        if config.crop is not None:
            field = _cropped(field, dataset, config.crop)
        # (N, 1, H, W) beside images (N, C, H, W): the class of a pixel is no channel.
        if len(field.shape) == len(first_input.shape) and field.shape[:1] == (1,):
            field = replace(field, shape=field.shape[1:])
        return field
    return field if ragged else replace(field, shape=field.shape or (1,))


def _windows(field: FieldSpec, config: DataConfig, shift: int = 0) -> FieldSpec:
    assert config.windows is not None
    length, stride = config.windows.length, config.windows.stride or config.windows.length
    return replace(field, shape=(length, *field.shape), window=Window(length, stride, shift))


def _cropped(field: FieldSpec, dataset: h5py.Dataset, crop: list[int]) -> FieldSpec:
    if field.channels == "last":
        raise DataError.at(
            where(dataset),
            "has its channels last, where crops can't be cut",
            value=dataset.shape,
            remedy="pack the file with the channels first",
        )
    stored = dataset.shape[1:]
    if len(crop) > len(stored) or any(np.array(crop) > stored[len(stored) - len(crop) :]):
        raise DataError.at(
            "data.crop", f"is larger than the samples of {where(dataset)}", value=crop, allowed=f"up to {stored}"
        )
    return replace(field, shape=(*stored[: len(stored) - len(crop)], *crop), crop=tuple(crop))


def _check_lengths(inputs: list[h5py.Dataset], targets: list[h5py.Dataset], config: DataConfig) -> None:
    """One sample of each for each sample of the first."""
    ahead = config.steps_ahead
    expected = num_samples_of(inputs[0], config.windows, ahead)
    for dataset in (*inputs[1:], *targets):
        found = num_samples_of(dataset, config.windows, ahead)
        if config.windows is not None and dataset not in inputs and len(dataset) != len(inputs[0]):
            expected, found = len(inputs[0]), len(dataset)
        if found != expected:
            kind, option = ("inputs", "data.inputs") if dataset in inputs else ("targets", "data.targets")
            raise DataError.at(
                where(dataset),
                f"has {found} {kind} for {expected} inputs in {inputs[0].name}",
                remedy="name datasets with one target for each input (`data.inputs`, `data.targets`)"
                if kind == "targets"
                else f"name datasets of as many samples (`{option}`)",
            )


def _check_steps(inputs: h5py.Dataset, targets: h5py.Dataset) -> None:
    """One class for each step, or node, of each sample."""
    begins, labels_begin = offsets_of(inputs), offsets_of(targets)
    if begins is None or labels_begin is None:
        return
    differ = np.flatnonzero(np.diff(begins[()]) != np.diff(labels_begin[()]))
    if len(differ):
        sample = int(differ[0])
        lengths = [int(np.diff(offsets[sample : sample + 2])[0]) for offsets in (labels_begin, begins)]
        raise DataError.at(
            where(labels_begin),
            f"gives sample {sample} {lengths[0]} classes, and {inputs.name} gives it {lengths[1]} steps",
            remedy="store one class for each step, or set `data.task: sequence_to_sequence` where lengths differ",
        )


def _check_offsets(dataset: h5py.Dataset) -> None:
    offsets = offsets_of(dataset)
    if offsets is None:
        return
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or len(offsets) < 2:
        raise DataError.at(where(offsets), "must be N + 1 integers", value=f"{offsets.dtype} of shape {offsets.shape}")
    values = offsets[()].astype(np.int64)
    if values[0] != 0 or values[-1] != len(dataset) or (np.diff(values) < 0).any():
        raise DataError.at(
            where(offsets),
            f"must ascend from 0 to the {len(dataset)} rows of {dataset.name}",
            value=f"{values[0]} … {values[-1]}" + (", not ascending" if (np.diff(values) < 0).any() else ""),
            remedy="write where each sample begins, and the end",
        )
