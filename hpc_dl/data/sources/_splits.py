"""Dividing the samples of a source into splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.data.files.splits import stratified

SPLIT_SEED = 0


def stratified_split(
    inputs: NDArray[Any], targets: NDArray[Any], sizes: Mapping[str, int], strata: NDArray[Any] | None = None
) -> dict[str, Samples]:
    """Divide samples at random so that each stratum has the same share in every split.

    Args:
        inputs: (N, …) all samples.
        targets: (N,) their targets.
        sizes: number of samples of each split, N in total.
        strata: (N,) stratum of each sample; the targets when None.
    """
    rows_of = stratified(targets if strata is None else strata, sizes, SPLIT_SEED)
    return {split: Samples(inputs[rows], targets[rows]) for split, rows in rows_of.items()}


def with_official_test(inputs: NDArray[Any], labels: NDArray[Any], sizes: Mapping[str, int]) -> dict[str, Samples]:
    """Divide the official training samples, and keep the official test samples as the test split.

    Args:
        inputs: (N, …) the official training samples, then the official test samples.
        labels: (N,) their classes.
        sizes: number of samples of each split that the official training samples are divided into,
            stratified by class.
    """
    num_train = sum(sizes.values())
    splits = stratified_split(inputs[:num_train], labels[:num_train], sizes)
    return splits | {"test": Samples(inputs[num_train:], labels[num_train:])}
