"""What is reported where ``data.channels: auto`` chose between two readings of a shape."""

from __future__ import annotations

from collections.abc import Sequence

import h5py

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.channels import MAX_COLOR_CHANNELS
from hpc_dl.data.files.splits import Split
from hpc_dl.data.spec import FieldSpec
from hpc_dl.data.storage.hdf5 import find_dataset, where


def channel_notes(file: h5py.File, split: Split, inputs: Sequence[FieldSpec], config: DataConfig) -> tuple[str, ...]:
    """Report where ``data.channels: auto`` had to choose between two readings of a shape.

    Args:
        file: the open file, not in our own format.
        split: a split of it.
        inputs: the input fields of a sample.
        config: the ``data`` section.
    """
    if config.channels != "auto" or config.windows is not None:
        return ()
    notes = []
    for path, field in zip(split.inputs, inputs, strict=True):
        dataset = find_dataset(file, path, "data.inputs")
        shape = tuple(dataset.shape)
        if field.ragged:
            continue
        if len(shape) == 3:
            notes.append(
                f"{where(dataset)}: {shape} is read as images of one channel, {shape[1]} × {shape[2]}; set "
                f"`data.channels: first` if they are series of {shape[1]} channels (such as electrodes) and {shape[2]} "
                f"steps, `last` for {shape[2]} channels, `none` to confirm"
            )
        elif len(shape) == 4 and shape[1] > MAX_COLOR_CHANNELS:
            notes.append(
                f"{where(dataset)}: {shape} is read as images of {shape[1]} channels, {shape[2]} × {shape[3]}; set "
                "`data.channels: none` if they are volumes of one channel, `last` for channels last, `first` to confirm"
            )
    return tuple(notes)
