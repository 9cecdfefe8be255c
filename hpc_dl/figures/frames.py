"""What a model made of the same inputs after each of some epochs: ``RUN/frames.h5``.

For each kind of frames a group::

    /KIND/epochs   (n,) int64, ascending; 0 is the untrained model
    /KIND/values   (n, …) float16, or (n,) texts
    /KIND/points   (N, 2), /KIND/targets (N,): samples to draw on top, if any
    attributes: extent, class_names

The file holds at most 40 frames of a kind. It is written anew for each of them, so that a kill
leaves the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import staged
from hpc_dl.data.storage.hdf5 import open_file

MOST_FRAMES = 40
KINDS = ("surface", "hidden", "samples", "texts")
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Frames:
    """The frames of a run that show one thing.

    Attributes:
        kind: ``surface``: outputs (points, K) on a grid of two features; ``hidden``: inputs
            (N + points, F) of the last layer, for the samples and a grid; ``samples``: (B, *shape)
            of a generator; ``texts``: one string.
        epochs: the number of epochs done at each frame, ascending.
        values: one array or string for each frame.
        points: (N, 2) samples to draw on top; empty for none.
        targets: (N,) their classes or values.
        extent: left, right, bottom and top of a grid.
        class_names: names of the classes; empty for values.
    """

    kind: str
    epochs: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()
    points: NDArray[Any] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    targets: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.float32))
    extent: tuple[float, ...] = ()
    class_names: Sequence[str] = ()

    def with_frame(self, epoch: int, value: Any) -> Frames:
        """Return these frames and one more."""
        return replace(self, epochs=(*self.epochs, epoch), values=(*self.values, value))

    def until(self, epoch: int) -> Frames:
        """Return the frames up to an epoch, from which a training resumes."""
        kept = [number for number, done in enumerate(self.epochs) if done <= epoch]
        return replace(self, epochs=tuple(self.epochs[i] for i in kept), values=tuple(self.values[i] for i in kept))


def write_frames(path: Path, recorded: Iterable[Frames]) -> None:
    """Write the file; it appears when it is complete.

    Raises:
        DataError: it cannot be written.
    """
    with staged(path) as temporary, h5py.File(temporary, "x") as file:
        for frames in recorded:
            group = file.create_group(frames.kind)
            group["epochs"] = np.array(frames.epochs, np.int64)
            if frames.kind == "texts":
                group.create_dataset("values", data=list(frames.values), dtype=h5py.string_dtype())
            else:
                group["values"] = np.stack(frames.values).astype(np.float16)
            group["points"], group["targets"] = frames.points, frames.targets
            group.attrs["extent"] = list(frames.extent)
            group.attrs["class_names"] = np.array(list(frames.class_names), h5py.string_dtype())


def read_frames(path: Path) -> dict[str, Frames]:
    """Read the frames by kind; none where there is no file, or one that is damaged."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        with open_file(path) as file:
            return {kind: _read(file[kind], kind) for kind in KINDS if kind in file}
    except Exception:  # a figure less, which is all that depends on this file
        return {}


def _read(group: h5py.Group, kind: str) -> Frames:
    values = group["values"].asstr()[()] if kind == "texts" else group["values"][()]
    return Frames(
        kind,
        tuple(map(int, group["epochs"][()])),
        tuple(values),
        group["points"][()],
        group["targets"][()],
        tuple(map(float, group.attrs["extent"])),
        tuple(map(str, group.attrs["class_names"])),
    )


def schedule(max_epochs: int | None) -> Callable[[int], bool]:
    """Return whether there is a frame after a number of epochs: at most 40 in all, evenly spread.

    Without a known last epoch the distances grow by a quarter each.
    """
    if max_epochs is not None and max_epochs > 0:
        due = {round(e) for e in np.linspace(0, max_epochs, min(max_epochs + 1, MOST_FRAMES))}
    else:
        due = {0, *(round(1.25**power) for power in range(MOST_FRAMES))}
    return lambda epoch: epoch in due
