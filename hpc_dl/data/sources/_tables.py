"""Checking and writing of data sets that are tables."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._splits import SPLIT_SEED, stratified_split
from hpc_dl.errors import DataError


def check_values(file: Path, sha256: str, *arrays: NDArray[Any]) -> None:
    """Check the values read from a file, where the file itself may be compressed in several ways.

    Args:
        file: where the values were read from, for the message.
        sha256: of the bytes of all arrays.
        arrays: the values.

    Raises:
        DataError: the values differ.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    if digest.hexdigest() != sha256:
        raise DataError.at(
            file, "does not contain the expected values", value=f"SHA-256 {digest.hexdigest()}", allowed=sha256
        )


def write_table(
    path: Path,
    source: Source,
    inputs: NDArray[Any],
    targets: NDArray[Any],
    *,
    url: str,
    provenance: str,
    class_names: Sequence[str] = (),
    strata: NDArray[Any] | None = None,
    input_units: str = "",
    target_units: str = "",
) -> None:
    """Write a table: 60% of its rows for training, 20% for validation, 20% for the test.

    Args:
        path: the file to write.
        source: the data set.
        inputs: (N, F) features.
        targets: (N,) class numbers or values, or (N, K) labels.
        url: where the data set is described.
        provenance: where the values came from.
        class_names: names of the classes; empty for regression.
        strata: (N,) groups with the same share in each split; the classes when None.
        input_units: unit of the features.
        target_units: unit of the values.
    """
    held_out = round(0.2 * len(inputs))
    sizes = {"train": len(inputs) - 2 * held_out, "val": held_out, "test": held_out}
    if strata is None and not class_names:
        strata = np.zeros(len(targets))
    source.write(
        path,
        stratified_split(inputs, targets, sizes, strata),
        url=url,
        provenance=f"{provenance}; {'stratified' if class_names else 'random'} split, seed {SPLIT_SEED}",
        class_names=class_names,
        input_units=input_units,
        target_units=target_units,
    )
