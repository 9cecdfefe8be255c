"""Recordings of different lengths, cut or padded to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened


def common_length(lengths: Sequence[int], chosen: int | None, names: Sequence[str], where: str) -> int:
    """Return the number of steps that all recordings get.

    Args:
        lengths: steps of each recording.
        chosen: what the user chose with ``--length``.
        names: of the recordings, for the message.
        where: the file or folder.

    Raises:
        DataError: they differ, and no length was chosen.
    """
    if chosen is not None:
        return chosen
    counts = Counter(lengths)
    if len(counts) > 1:
        shortest, longest = min(counts), max(counts)
        example = names[list(lengths).index(shortest)]
        raise DataError.at(
            where,
            f"has recordings of different lengths, for example {example}",
            value=shortened([f"{length}: {count}x" for length, count in sorted(counts.items())], 5),
            remedy=f"cut and pad all with `--length STEPS`: {longest} cuts none, {shortest} pads none",
        )
    return lengths[0]


def resized(values: NDArray[Any], length: int, axis: int = -1, silence: int = 0) -> NDArray[Any]:
    """Cut an array at the end of an axis, or pad it with the value of silence."""
    missing = length - values.shape[axis]
    if missing <= 0:
        return np.take(values, range(length), axis)
    padding = [(0, 0)] * values.ndim
    padding[axis] = (0, missing)
    return np.pad(values, padding, constant_values=silence)
