"""The same number of training samples per class: ``data.balance``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import BalanceMethod
from hpc_dl.data.order.permutation import permutation

_STREAM = 2**62  # a random stream of the seed that neither epochs nor splits use


def balanced(labels: NDArray[np.integer], method: BalanceMethod, seed: int = 0) -> NDArray[np.intp]:
    """Return rows in which all classes are equally frequent.

    Args:
        labels: (N,) class of each row.
        method: ``undersample``: a random subset of each class, as large as the rarest class;
            ``oversample``: all rows, with those of each class repeated until there are as many as
            in the most frequent one.
        seed: seed of the random choice.

    Returns:
        Row numbers, ascending; a repeated row occurs several times.
    """
    if method == "none":
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    rows_per_class = int(counts.min() if method == "undersample" else counts.max())
    chosen = []
    for number, label in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        repeats, remainder = divmod(rows_per_class, len(rows))
        drawn = rows[permutation(len(rows), seed, _STREAM + number)[:remainder]]
        chosen.append(np.concatenate([np.repeat(rows, repeats), drawn]))
    return np.sort(np.concatenate(chosen))
