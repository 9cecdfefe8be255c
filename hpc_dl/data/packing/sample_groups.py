"""The group of each sample (``--group``), stored for ``data.group``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.source import Source
from hpc_dl.data.packing.split_assignment import SplitAssignment

_FALLBACK = "group"


class SampleGroups(NamedTuple):
    """What a packed file says about the groups of its samples.

    Attributes:
        dataset: its path in each split.
        values: of each split, (N,) UTF-8 of fixed length, which a checksum can be computed of.
    """

    dataset: str
    values: Mapping[str, NDArray[np.bytes_]]


def sample_groups(source: Source, splits: SplitAssignment, name: str | None) -> SampleGroups | None:
    """Return the groups of a source's samples.

    Args:
        source: the samples.
        splits: the split of each sample.
        name: of the column or dataset that the user chose.

    Returns:
        ``None`` if the user chose none, or if not each sample has one: steps of a stream, and
        samples whose splits are those of the source.
    """
    groups = None if name is None or source.stream or source.has_splits else source.groups()
    if name is None or groups is None:
        return None
    encoded = np.char.encode(groups.astype(str), "utf-8", "backslashreplace")
    return SampleGroups(_path(name), {split: encoded[splits.is_in(split)] for split in splits.sizes})


def _path(name: str) -> str:
    """The name of the column or dataset, if it can be the path of a dataset next to the inputs."""
    parts = name.strip("/").split("/")
    is_free = parts[0] not in ("inputs", "targets") and not {"", ".", ".."} & set(parts) and "\0" not in name
    return "/".join(parts) if is_free else _FALLBACK
