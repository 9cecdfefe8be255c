"""As many samples of each class: ``data.balance``."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.order.permutation import permutation

Balance = Literal["none", "undersample", "oversample"]

_STREAM = 2**62  # of the seed's streams, apart from those of the epochs and of the splits


def balanced(labels: NDArray[np.integer], how: Balance, seed: int = 0) -> NDArray[np.intp]:
    """The rows that make all classes equally frequent.

    Args:
        labels: (N,) class of each row.
        how: ``undersample``: of each class as many rows as the rarest has, at random;
            ``oversample``: all rows, those of each class repeated until they are as many as those
            of the most frequent one.
        seed: of the choice.

    Returns:
        Row numbers, ascending; a row stands there as often as it is used.
    """
    if how == "none":
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    wanted = int(counts.min() if how == "undersample" else counts.max())
    chosen = []
    for number, label in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        whole, rest = divmod(wanted, len(rows))
        drawn = rows[permutation(len(rows), seed, _STREAM + number)[:rest]]
        chosen.append(np.concatenate([np.repeat(rows, whole), drawn]))
    return np.sort(np.concatenate(chosen))
