"""Arrays of inputs without targets, for samples to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpc_dl.data.files.array_names import INPUT_NAMES
from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened


def inputs_among(names: Sequence[str], path: Path, chosen: str | None) -> str:
    """Return the array of the inputs: the chosen one, the only one, or one with a usual name.

    Raises:
        DataError: there is no such array, or several have usual names.
    """
    usual = [name for name in names if name.lower() in INPUT_NAMES]
    candidates = [chosen] if chosen else list(names) if len(names) == 1 else usual
    if len(candidates) != 1 or candidates[0] not in names:
        raise DataError.at(
            path, "has no array of this name" if chosen else "has no single array with a usual name for inputs",
            value=chosen, allowed=shortened(list(names), 20), remedy="specify it with `--inputs NAME`",
        )  # fmt: skip
    return candidates[0]


def unlabeled(path: Path, kind: str, inputs: Column, options: PackOptions, files: list[Path]) -> Source:
    """Return a source of inputs alone."""
    none = ArrayColumn(inputs.name, np.empty((*inputs.shape[:1], 0), np.float32))
    source = PairedSource(path, kind, {"": (inputs, none)}, replace(options, task="regression"), files)
    source.targets = None
    return source
