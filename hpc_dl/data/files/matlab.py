"""Recognition of files that MATLAB wrote."""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.config import DataConfig
from hpc_dl.data.storage.hdf5 import FoundDataset, where
from hpc_dl.errors import DataError


def check_not_matlab(dataset: FoundDataset, config: DataConfig) -> None:
    """Check that MATLAB did not write a dataset: its files hold all axes in reverse order.

    Raises:
        DataError: it did.
    """
    if "MATLAB_class" not in dataset.attrs:
        return
    path = Path(dataset.opened.filename)
    names = f"--inputs {config.input_names[0]}"
    if config.target_names:
        names += f" --targets {config.target_names[0]}"
    raise DataError.at(
        where(dataset),
        "was written by MATLAB, whose files hold the axes of each array in reverse order",
        value=dataset.shape,
        allowed=f"{tuple(reversed(dataset.shape))}, samples first",
        remedy=f"convert it with `hpc-dl data pack {path.name} {path.stem}-packed.h5 {names}`",
    )
