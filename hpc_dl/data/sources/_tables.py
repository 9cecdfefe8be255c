"""What sources that are tables have in common: checking the values, dealing the rows to the splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.files.splits import stratified
from hpc_dl.data.sources import Source
from hpc_dl.errors import DataError

_SEED = 0


def expect(place: Path, sha256: str, *arrays: NDArray[Any]) -> None:
    """Check values that were read from a file which may be packed in more than one way.

    Raises:
        DataError: they are others.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    if digest.hexdigest() != sha256:
        raise DataError.at(
            place, "does not hold the values that were expected", value=f"SHA-256 {digest.hexdigest()}", allowed=sha256
        )


def with_official_test(
    inputs: NDArray[Any], labels: NDArray[Any], sizes: Mapping[str, int], seed: int
) -> dict[str, Samples]:
    """The splits of a data set whose own training samples come first, and whose test samples, after
    them, are kept.

    Args:
        inputs: (N, …) all samples.
        labels: (N,) their classes.
        sizes: of the splits that the training samples are dealt to, each with the classes' shares.
        seed: of the dealing.
    """
    official = sum(sizes.values())
    splits = {
        split: Samples(inputs[rows], labels[rows]) for split, rows in stratified(labels[:official], sizes, seed).items()
    }
    return splits | {"test": Samples(inputs[official:], labels[official:])}


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
    """Write a table, 60 % of its rows for training, 20 % for validation and 20 % for the test.

    Args:
        path: the file to write.
        source: what it is.
        inputs: (N, F) features.
        targets: (N,) class numbers, or values.
        url: where the data set is described.
        provenance: how it was had.
        class_names: names of the classes.
        strata: (N,) groups whose shares are the same in each split; the classes when None.
        input_units: unit of the features.
        target_units: unit of the values.
    """
    held_out = round(0.2 * len(inputs))
    sizes = {"train": len(inputs) - 2 * held_out, "val": held_out, "test": held_out}
    if strata is None:
        strata = targets if class_names else np.zeros(len(targets))
    write(
        path,
        {split: Samples(inputs[rows], targets[rows]) for split, rows in stratified(strata, sizes, _SEED).items()},
        source=source.name,
        task=source.task,
        license=source.license,
        description=source.title,
        url=url,
        provenance=f"{provenance}; {'stratified' if class_names else 'random'} split, seed {_SEED}",
        shared=source.shared,
        class_names=class_names,
        input_units=input_units,
        target_units=target_units,
    )
