"""What a model needs to know of its data: shapes, classes, task. Read from the HDF5 file, never asked in the YAML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["classification", "regression"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataSpec:
    """The shapes and meaning of a data set's samples.

    Attributes:
        input_shape: shape of one input without the batch: (channels, height, width), (features,), …
        input_dtype: NumPy's name of the stored type (``uint8``).
        task: ``classification`` for integer targets (or where the file says so), else ``regression``.
        num_outputs: number of classes, or of target values per sample.
        class_names: names of the classes, empty for regression.
        sizes: samples in each split that exists (``{"train": 60000, …}``).
        file: absolute path of the HDF5 file.
        checksum: ``sha256:…`` of the content, or ``sampled-sha256:…`` for a large file that this project did not write.
        name: the data source's name, or the file's stem.
    """

    input_shape: tuple[int, ...]
    input_dtype: str
    task: TaskName
    num_outputs: int
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    file: str
    checksum: str
    name: str

    @property
    def num_channels(self) -> int:
        """Size of the first axis of an input: channels of an image, features of a vector."""
        return self.input_shape[0]
