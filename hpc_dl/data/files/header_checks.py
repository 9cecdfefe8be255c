"""Checks of the datasets of a split by their headers: numbers, lengths, and offsets that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.splits import num_samples_of, offsets_of
from hpc_dl.data.spec import EDGES, NODES
from hpc_dl.data.storage.hdf5 import FoundDataset, type_name, where
from hpc_dl.errors import DataError


def check_numbers(dataset: FoundDataset, remedy: str) -> None:
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


def check_lengths(inputs: list[FoundDataset], targets: list[FoundDataset], config: DataConfig) -> None:
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
                remedy=_length_remedy(inputs[0], dataset, role),
            )


def check_nodes(inputs: list[FoundDataset], targets: list[FoundDataset], config: DataConfig) -> None:
    """Check that the inputs are one graph, and that each of its nodes has a target."""
    if not {NODES, EDGES} <= set(config.input_names) or not targets:
        raise DataError.at(
            "data.splits.nodes",
            "splits the nodes of one graph, but the inputs are not those of a graph",
            value=", ".join(config.input_names),
            allowed=f"{NODES} (n, F), {EDGES} (e, 2) and targets (n,)",
            remedy="set `data.inputs: [nodes, edges]`, or split samples by `data.splits.indices`",
        )
    nodes = inputs[config.input_names.index(NODES)]
    if len(nodes) != len(targets[0]):
        raise DataError.at(
            where(targets[0]),
            f"has {len(targets[0])} targets for {len(nodes)} nodes in {nodes.name}",
            remedy="store one class per node; what has none gets `data.ignore_label`",
        )


def check_steps(inputs: FoundDataset, targets: FoundDataset) -> None:
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


def check_offsets(dataset: FoundDataset) -> None:
    """Check that offsets, if there are any, ascend from 0 to the number of rows."""
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


def _length_remedy(inputs: FoundDataset, dataset: FoundDataset, role: str) -> str:
    if role == "inputs":
        return "choose datasets with the same number of samples (`data.inputs`)"
    num_targets = max(dataset.shape)
    if inputs.ndim > 1 and inputs.shape[-1] == num_targets != inputs.shape[0]:
        return (
            "the axes of the inputs look reversed, as Julia, R, Fortran and MATLAB write them: store the samples on "
            "the first axis"
        )
    return "choose datasets with one target per input (`data.inputs`, `data.targets`)"


def check_not_matlab(dataset: FoundDataset, config: DataConfig) -> None:
    """Check that MATLAB did not write a dataset: its files hold all axes in reverse order.

    Raises:
        DataError: it did.
    """
    if "MATLAB_class" not in dataset.attrs:
        return
    path = Path(dataset.opened.filename)
    names = f"--inputs {config.input_names[0]}"
    if config.target_names:
        names += f" --targets {config.target_names[0]}"
    raise DataError.at(
        where(dataset),
        "was written by MATLAB, whose files hold the axes of each array in reverse order",
        value=dataset.shape,
        allowed=f"{tuple(reversed(dataset.shape))}, samples first",
        remedy=f"convert it with `hpc-dl data pack {path.name} {path.stem}.h5 {names}`",
    )
