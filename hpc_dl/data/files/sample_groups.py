"""The group of each sample, such as its site, scanner or sex (``data.group``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.splits import Split, num_samples_of
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.storage.hdf5 import find_dataset, open_file, type_name, where
from hpc_dl.errors import ConfigError, DataError

_TASKS = ("classification", "regression")
_MOST_GROUPS = 100


def check_groups(spec: DataSpec, splits: Mapping[str, Split], config: DataConfig) -> None:
    """Check that each sample of every split has a group.

    Raises:
        ConfigError: metrics by group do not exist for the task.
        DataError: the dataset is missing or does not name a group for each sample.
    """
    if spec.task not in _TASKS:
        raise ConfigError.at(
            "data.group",
            f"works for {' and '.join(_TASKS)} only, but the task of {spec.file} is {spec.task}",
            value=config.group,
            remedy="remove it",
        )
    if config.windows is not None:
        raise ConfigError.at("data.group", "cannot be used with `data.windows`", value=config.group, remedy="remove it")
    for split in splits.values():
        read_groups(spec, split, config)


def read_groups(spec: DataSpec, split: Split, config: DataConfig) -> NDArray[Any]:
    """Return the group of each sample of a split: (N,) integers or texts.

    Raises:
        DataError: the dataset is missing or does not name a group for each sample.
    """
    assert config.group is not None
    with open_file(spec.file) as file:
        path = f"{split.group}/{config.group.strip('/')}"
        dataset = find_dataset(file, path, "data.group", group=split.group, taken=(*split.inputs, *split.targets))
        place, num_samples = where(dataset), num_samples_of(find_dataset(file, split.inputs[0], "data.inputs"))
        texts = h5py.check_string_dtype(dataset.dtype) is not None
        if dataset.shape != (num_samples,) or not (texts or dataset.dtype.kind in "biu"):
            raise DataError.at(
                place,
                "must have one integer or text for each sample",
                value=f"{type_name(dataset)} of shape {dataset.shape}",
                allowed=f"shape ({num_samples},)",
                remedy="correct the dataset, or set `data.group` to another one",
            )
        stored = dataset.asstr(errors="backslashreplace")[()].astype(str) if texts else dataset[()]
    groups: NDArray[Any] = stored if split.rows is None else stored[split.rows]
    if (count := len(np.unique(groups))) > _MOST_GROUPS:
        raise DataError.at(
            place,
            "has too many groups for metrics of each of them",
            value=count,
            allowed=f"up to {_MOST_GROUPS}",
            remedy="set `data.group` to a dataset with fewer distinct values",
        )
    return groups
