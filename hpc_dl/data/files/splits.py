"""Where in a file the samples of each split lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig, SplitFractions, SplitGroups, SplitIndices, Windows
from hpc_dl.data.order.permutation import permutation
from hpc_dl.data.spec import SPLITS
from hpc_dl.data.storage.hdf5 import find_dataset, where
from hpc_dl.errors import DataError, Fault

# The random split draws from a stream of its own: no epoch has this number.
_SPLIT_STREAM = 2**63


@dataclass(frozen=True, eq=False)
class Part:
    """Where the samples of one split lie.

    Attributes:
        inputs: paths of the datasets with the inputs.
        targets: paths of the datasets with the targets.
        rows: which samples of these datasets make the split, ascending; None for all of them.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    rows: NDArray[np.intp] | None = None

    def rows_at(self, samples: NDArray[np.intp]) -> NDArray[np.intp]:
        """Numbers in the datasets for numbers of samples within the split."""
        return samples if self.rows is None else self.rows[samples]


def locate_splits(file: h5py.File, config: DataConfig) -> dict[str, Part]:
    """Find the splits that the configuration describes; ``train`` is always among them.

    Raises:
        DataError: a group or an index dataset is missing, unusable or empty, or two splits share
            samples.
    """
    if config.splits.fractions is not None:
        return _by_fractions(file, config, config.splits.fractions)
    if config.splits.indices is not None:
        return _by_indices(file, config, config.splits.indices)
    return _by_groups(file, config, config.splits.groups or SplitGroups())


def stratified(labels: NDArray[Any], sizes: Mapping[str, int], seed: int) -> dict[str, NDArray[np.intp]]:
    """Deal samples to splits of exact sizes so that each split has the classes' shares of the
    whole.

    Every class is shuffled and spread evenly over [0, 1]; the splits are consecutive stretches of
    that line.

    Args:
        labels: (N,) class of each sample.
        sizes: number of samples of each split, N altogether.
        seed: seed of the shuffle.

    Returns:
        The rows of each split, ascending.
    """
    assert sum(sizes.values()) == len(labels), (sizes, len(labels))
    shuffled = permutation(len(labels), seed, _SPLIT_STREAM)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    line = np.argsort(place, kind="stable")
    ends = np.cumsum(list(sizes.values()))
    return {split: np.sort(line[end - size : end]) for (split, size), end in zip(sizes.items(), ends, strict=True)}


def _by_groups(file: h5py.File, config: DataConfig, groups: SplitGroups) -> dict[str, Part]:
    # A group that only our defaults name may be absent; one that the user wrote may not.
    asked = {"train"} | (groups.model_fields_set if config.splits.groups is not None else set())
    parts: dict[str, Part] = {}
    for split in SPLITS:
        group = getattr(groups, split)
        if group is None or (split not in asked and group not in file):
            continue
        if not isinstance(file.get(group), h5py.Group):
            known = [f"/{name}" for name in file if isinstance(file.get(name), h5py.Group)]
            raise DataError.at(
                where(file, f"/{group.strip('/')}"),
                f"there is no such group for the {split} split",
                allowed=", ".join(known) or "the file holds no groups",
                remedy="say how the file is divided under `data.splits`: groups, fractions or indices",
            )
        inputs, targets = (
            tuple(f"/{group.strip('/')}/{name.strip('/')}" for name in names)
            for names in (config.input_names, config.target_names)
        )
        parts[split] = Part(inputs, targets)
    _refuse_shared_groups(file, parts)
    return parts


def _refuse_shared_groups(file: h5py.File, parts: Mapping[str, Part]) -> None:
    """Two names may lead to one dataset (a link, or one group given twice): then evaluation sees
    training samples.
    """
    seen: dict[h5py.Dataset, str] = {}
    for split, part in parts.items():
        dataset = find_dataset(file, part.inputs[0], "data.inputs")
        if dataset in seen:
            raise DataError.at(
                where(file, part.inputs[0]),
                f"the {split} split holds the samples of the {seen[dataset]} split",
                remedy=f"name another group in `data.splits.groups.{split}`, or null for none",
            )
        seen[dataset] = split


def _by_fractions(file: h5py.File, config: DataConfig, fractions: SplitFractions) -> dict[str, Part]:
    inputs, paths = _undivided(file, config, "fractions")
    num_samples = num_samples_of(inputs)
    shuffled = permutation(num_samples, fractions.seed, _SPLIT_STREAM)
    parts: dict[str, Part] = {}
    start, share = 0, 0.0
    for split in SPLITS:
        fraction = getattr(fractions, split)
        share += fraction
        end = round(num_samples * share)
        if fraction > 0:
            if end == start:
                raise DataError.at(
                    where(inputs),
                    f"the {split} split would be empty: {fraction:g} of {num_samples} samples",
                    remedy=f"raise `data.splits.fractions.{split}`, or set it to 0 for no such split",
                )
            parts[split] = Part(*paths, np.sort(shuffled[start:end]))
        start = end
    return parts


def _by_indices(file: h5py.File, config: DataConfig, indices: SplitIndices) -> dict[str, Part]:
    inputs, paths = _undivided(file, config, "indices")
    owner = np.full(num_samples_of(inputs), -1, np.int8)  # which split a row belongs to
    parts: dict[str, Part] = {}
    for number, split in enumerate(SPLITS):
        name = getattr(indices, split)
        if name is None:
            continue
        option = f"data.splits.indices.{split}"
        dataset = find_dataset(file, name, option)
        rows = _rows(dataset, len(owner), option)
        if taken := sorted({SPLITS[other] for other in owner[rows] if other >= 0}):
            shared = rows[owner[rows] >= 0]
            raise DataError.at(
                where(dataset),
                f"the {split} split shares {len(shared)} rows with {' and '.join(taken)}, the first is row {shared[0]}",
                remedy="list each row in one split only",
            )
        owner[rows] = number
        parts[split] = Part(*paths, rows)
    return parts


def _rows(dataset: h5py.Dataset, num_samples: int, option: str) -> NDArray[np.intp]:
    """The rows that an index dataset or a boolean mask lists, ascending."""

    def fail(problem: str, **details: Any) -> DataError:
        remedy = f"correct the dataset, or name another one in `{option}`"
        return DataError(Fault(where(dataset), problem, **{"remedy": remedy, **details}))

    if dataset.ndim != 1 or dataset.dtype.kind not in "biu":
        raise fail("must be one row of integers or a boolean mask", value=f"{dataset.dtype} of shape {dataset.shape}")
    values = dataset[()]
    if values.dtype.kind == "b":
        if len(values) != num_samples:
            raise fail(f"is a mask of {len(values)} entries for {num_samples} samples")
        rows = np.flatnonzero(values)
    else:
        outside = (values < 0) | (values >= num_samples)
        if outside.any():
            raise fail(
                f"lists {int(outside.sum())} rows that are not there",
                value=int(values[outside][0]),
                allowed=f"0 to {num_samples - 1}",
            )
        rows = np.unique(values.astype(np.intp))
        if len(rows) < len(values):
            raise fail(f"lists {len(values) - len(rows)} rows more than once")
    if not len(rows):
        raise fail("lists no rows: the split is empty")
    return rows


def _undivided(
    file: h5py.File, config: DataConfig, kind: str
) -> tuple[h5py.Dataset, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The first dataset of the inputs, and the paths of all inputs and targets, of a file without
    groups.
    """
    if config.windows is not None:
        raise DataError.at(
            f"data.splits.{kind}",
            "would share steps of the stream between the splits: windows lie side by side, or overlap",
            remedy="keep train, val and test in streams of their own (`data.splits.groups`)",
        )
    inputs = [find_dataset(file, name, "data.inputs") for name in config.input_names]
    targets = [find_dataset(file, name, "data.targets") for name in config.target_names]
    return inputs[0], (tuple(dataset.name for dataset in inputs), tuple(dataset.name for dataset in targets))


def offsets_of(dataset: h5py.Dataset) -> h5py.Dataset | None:
    """Where each sample of a dataset of samples of different lengths begins: its sibling
    ``NAME_offsets``, or None.
    """
    found = dataset.file.get(f"{dataset.name}_offsets")
    return found if isinstance(found, h5py.Dataset) else None


def num_samples_of(dataset: h5py.Dataset, windows: Windows | None = None, ahead: int = 0) -> int:
    """Samples in a dataset.

    Args:
        dataset: any.
        windows: how samples are cut from a stream; None where it holds samples.
        ahead: steps of the stream that are needed beyond a window's end.

    Raises:
        DataError: there are none.
    """
    length = int(dataset.shape[0]) if dataset.shape else 0
    if (offsets := offsets_of(dataset)) is not None:
        length = len(offsets) - 1
    if windows is not None:
        length = max(0, (length - windows.length - ahead) // (windows.stride or windows.length) + 1)
    if length < 1:
        raise DataError.at(
            where(dataset),
            "holds no samples" if windows is None else "is shorter than one window",
            value=dataset.shape,
            remedy="fill it, or name another dataset" if windows is None else "lower `data.windows.length`",
        )
    return length
