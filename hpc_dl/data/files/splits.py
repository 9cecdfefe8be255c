"""The datasets and rows of each split of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.files.array_names import split_and_base
from hpc_dl.data.files.matlab import check_not_matlab
from hpc_dl.data.order.permutation import permutation
from hpc_dl.data.spec import SPLITS
from hpc_dl.data.split_config import SplitFractions, SplitGroups, SplitIndices, SplitNodes
from hpc_dl.data.storage.dependencies import item_at, linked_datasets
from hpc_dl.data.storage.hdf5 import FoundDataset, broken_link, find_dataset, find_neighbor, where
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

# The random split draws from a separate random stream: no epoch has this number.
_SPLIT_STREAM = 2**63


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a file.

    Attributes:
        inputs: paths of the datasets with the inputs.
        targets: paths of the datasets with the targets.
        rows: which samples of these datasets belong to the split, ascending; None for all of them.
        group: the group that the user's names of the datasets are relative to; empty for the file.
        counted: (nodes,) which nodes of the only graph belong to the split; None for all of them.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    rows: NDArray[np.intp] | None = None
    group: str = ""
    counted: NDArray[np.bool_] | None = None

    def dataset_indices(self, samples: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the numbers that samples of the split have in its datasets."""
        return samples if self.rows is None else self.rows[samples]


def locate_splits(file: h5py.File, config: DataConfig) -> dict[str, Split]:
    """Find the splits that the configuration describes; ``train`` is always among them.

    Raises:
        DataError: a group or index dataset is missing, unusable or empty, or two splits share
            samples.
    """
    if config.splits.fractions is not None:
        return _by_fractions(file, config, config.splits.fractions)
    if config.splits.indices is not None:
        return _by_indices(file, config, config.splits.indices)
    if config.splits.nodes is not None:
        return _by_nodes(file, config, config.splits.nodes)
    return _by_groups(file, config, config.splits.groups or SplitGroups())


def stratified(labels: NDArray[Any], sizes: Mapping[str, int], seed: int) -> dict[str, NDArray[np.intp]]:
    """Split samples into parts of exact sizes, each with the class proportions of the whole.

    Every class is shuffled and spread evenly over [0, 1]; each split is one interval of that line.

    Args:
        labels: (N,) class of each sample.
        sizes: number of samples in each split, N in total.
        seed: seed of the shuffle.

    Returns:
        The rows of each split, ascending.
    """
    assert sum(sizes.values()) == len(labels), (sizes, len(labels))
    shuffled = permutation(len(labels), seed, _SPLIT_STREAM)
    positions = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        positions[members] = (np.arange(len(members)) + 0.5) / len(members)
    line = np.argsort(positions, kind="stable")
    ends = np.cumsum(list(sizes.values()))
    return {split: np.sort(line[end - size : end]) for (split, size), end in zip(sizes.items(), ends, strict=True)}


def _by_groups(file: h5py.File, config: DataConfig, groups: SplitGroups) -> dict[str, Split]:
    # A group that only the defaults name may be missing; one that the user named may not.
    required = {"train"} | {split for split in SPLITS if not groups.has_default(split)}
    splits: dict[str, Split] = {}
    for split in SPLITS:
        group = getattr(groups, split)
        if group is None or (split not in required and file.get(group, getlink=True) is None):
            continue
        if not isinstance(item_at(file, group), h5py.Group):
            existing = [f"/{name}" for name in file if isinstance(item_at(file, name), h5py.Group)]
            if broken := broken_link(file, group):
                raise DataError.at(
                    where(file, f"/{group.strip('/')}"),
                    f"should contain the {split} split, but is behind a link whose target cannot be opened, {broken}",
                    remedy=f"restore the target, or set `data.splits.groups.{split}` to another group",
                )
            raise DataError.at(
                where(file, f"/{group.strip('/')}"),
                f"does not exist, but should contain the {split} split",
                allowed=", ".join(existing) or "the file has no groups",
                remedy=_split_remedy(file),
            )
        inputs, targets = (
            tuple(f"/{group.strip('/')}/{name.strip('/')}" for name in names)
            for names in (config.input_names, config.target_names)
        )
        splits[split] = Split(inputs, targets, group=group)
    _refuse_shared_groups(file, splits)
    return splits


def _split_remedy(file: h5py.File) -> str:
    """Say how to describe the splits, or how to convert a file with ``x_train`` and ``x_test``."""
    names = [path for path, _ in linked_datasets(file)]
    splits = {split for split, _ in map(split_and_base, (name.strip("/") for name in names))}
    if "train" in splits:
        path = Path(file.filename)
        command = f"hpc-dl data pack {path.name} {path.stem}-packed.h5"
        return f"the datasets are named after splits ({shortened(names, 4)}): convert the file with `{command}`"
    return "describe in `data.splits` how the file is divided: by groups, fractions or indices"


def _refuse_shared_groups(file: h5py.File, splits: Mapping[str, Split]) -> None:
    """Raise if two splits have the same dataset: evaluation would use training samples.

    This happens through a link, or if one group is named twice.
    """
    seen: dict[h5py.Dataset, str] = {}
    for name, split in splits.items():
        dataset = find_dataset(file, split.inputs[0], "data.inputs", group=split.group, taken=split.targets)
        if dataset in seen:
            raise DataError.at(
                where(file, split.inputs[0]),
                f"the {name} split has the same samples as the {seen[dataset]} split",
                remedy=f"set `data.splits.groups.{name}` to another group, or to null for no such split",
            )
        seen[dataset] = name


def _by_fractions(file: h5py.File, config: DataConfig, fractions: SplitFractions) -> dict[str, Split]:
    inputs, paths = _undivided(file, config, "fractions")
    num_samples = num_samples_of(inputs)
    shuffled = permutation(num_samples, fractions.seed, _SPLIT_STREAM)
    splits: dict[str, Split] = {}
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
                    remedy=f"raise `data.splits.fractions.{split}`, or set it to 0 to have no {split} split",
                )
            splits[split] = Split(*paths, np.sort(shuffled[start:end]))
        start = end
    return splits


def _by_indices(file: h5py.File, config: DataConfig, indices: SplitIndices) -> dict[str, Split]:
    inputs, paths = _undivided(file, config, "indices")
    rows_of = _disjoint_rows(file, indices, num_samples_of(inputs), "data.splits.indices")
    return {split: Split(*paths, rows) for split, rows in rows_of.items()}


def _by_nodes(file: h5py.File, config: DataConfig, nodes: SplitNodes) -> dict[str, Split]:
    """Return splits that all have the only graph of the file, each with labels of its own nodes."""
    targets, paths = _undivided(file, config, "nodes", labeled=True)
    splits: dict[str, Split] = {}
    for split, rows in _disjoint_rows(file, nodes, int(targets.shape[0]), "data.splits.nodes").items():
        counted = np.zeros(targets.shape[0], bool)
        counted[rows] = True
        splits[split] = Split(*paths, np.zeros(1, np.intp), counted=counted)
    return splits


def _disjoint_rows(
    file: h5py.File, section: SplitIndices | SplitNodes, num_rows: int, key: str
) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each split, as the datasets that the section names list them."""
    owner = np.full(num_rows, -1, np.int8)  # number of the split that a row belongs to
    rows_of: dict[str, NDArray[np.intp]] = {}
    for number, split in enumerate(SPLITS):
        name = getattr(section, split)
        # A dataset that only the defaults name may be missing; one that the user named may not.
        by_default = isinstance(section, SplitNodes) and section.has_default(split) and split != "train"
        if name is None or (by_default and file.get(name, getlink=True) is None):
            continue
        option = f"{key}.{split}"
        dataset = find_dataset(file, name, option)
        rows = _rows(dataset, len(owner), option)
        if taken := sorted({SPLITS[other] for other in owner[rows] if other >= 0}):
            shared = rows[owner[rows] >= 0]
            raise DataError.at(
                where(dataset),
                f"the {split} split shares {len(shared)} rows with {' and '.join(taken)}, for example row {shared[0]}",
                remedy="list each row in one split only",
            )
        owner[rows] = number
        rows_of[split] = rows
    return rows_of


def _rows(dataset: h5py.Dataset, num_samples: int, option: str) -> NDArray[np.intp]:
    """Return the rows that an index dataset or a boolean mask selects, ascending."""

    def fail(problem: str, **details: Any) -> DataError:
        remedy = f"correct the dataset, or set `{option}` to another one"
        return DataError(Fault(where(dataset), problem, **{"remedy": remedy, **details}))

    if dataset.ndim != 1 or dataset.dtype.kind not in "biu":
        raise fail("must be a list of integers or a boolean mask", value=f"{dataset.dtype} of shape {dataset.shape}")
    values = dataset[()]
    if len(values) == num_samples > 2 and ((values == 0) | (values == 1)).all():
        values = values.astype(bool)  # a mask of zeros and ones: as row numbers, they would repeat
    if values.dtype.kind == "b":
        if len(values) != num_samples:
            raise fail(f"is a mask of {len(values)} entries, but there are {num_samples} samples")
        rows = np.flatnonzero(values)
    else:
        outside = (values < 0) | (values >= num_samples)
        if outside.any():
            raise fail(
                f"lists {int(outside.sum())} rows that do not exist",
                value=int(values[outside][0]),
                allowed=f"0 to {num_samples - 1}",
            )
        rows = np.unique(values.astype(np.intp))
        if len(rows) < len(values):
            raise fail(f"lists {len(values) - len(rows)} rows more than once")
    if not len(rows):
        raise fail("selects no rows, so the split is empty")
    return rows


def _undivided(
    file: h5py.File, config: DataConfig, kind: str, *, labeled: bool = False
) -> tuple[FoundDataset, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the first input (or target) dataset, and all paths, of a file without groups."""
    if config.windows is not None:
        raise DataError.at(
            f"data.splits.{kind}",
            "cannot split windows of a stream: neighboring windows may overlap, so splits would share steps",
            remedy="store train, val and test as separate streams, each in a group (`data.splits.groups`)",
        )
    inputs = [find_dataset(file, name, "data.inputs", taken=config.target_names) for name in config.input_names]
    targets = [find_dataset(file, name, "data.targets", taken=config.input_names) for name in config.target_names]
    for dataset in (*inputs, *targets):
        check_not_matlab(dataset, config)
    # The paths as configured: the name of a dataset behind an external link is one in another file.
    first = targets[0] if labeled and targets else inputs[0]
    return first, (tuple(dataset.path for dataset in inputs), tuple(dataset.path for dataset in targets))


def offsets_of(dataset: FoundDataset) -> FoundDataset | None:
    """Return the offsets of a dataset whose samples differ in length, or None.

    They are stored next to it as ``NAME_offsets``: the first row of each sample, and the end.
    """
    return find_neighbor(dataset, "_offsets")


def num_samples_of(dataset: FoundDataset, windows: Windows | None = None, ahead: int = 0) -> int:
    """Return the number of samples in a dataset.

    Args:
        dataset: the dataset.
        windows: how samples are cut from a stream; None if the dataset holds samples.
        ahead: steps of the stream needed beyond the end of a window.

    Raises:
        DataError: the dataset contains no samples.
    """
    length = int(dataset.shape[0]) if dataset.shape else 0
    if (offsets := offsets_of(dataset)) is not None:
        length = len(offsets) - 1
    if windows is not None:
        length = max(0, (length - windows.length - ahead) // (windows.stride or windows.length) + 1)
    if length < 1:
        raise DataError.at(
            where(dataset),
            "contains no samples" if windows is None else "is shorter than one window",
            value=dataset.shape,
            remedy="fill it, or choose another dataset" if windows is None else "lower `data.windows.length`",
        )
    return length
