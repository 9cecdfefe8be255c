"""What a model needs to know of its data: shapes, classes, task. Read from the HDF5 file, never asked in the YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

TaskName = Literal["classification", "regression", "labelling"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Window:
    """Stretches of equal length out of one long stream.

    Attributes:
        length: steps in each.
        stride: steps from the beginning of one to that of the next.
        shift: steps by which all begin later than at 0, such as 1 for next tokens.
    """

    length: int
    stride: int
    shift: int = 0


@dataclass(frozen=True)
class FieldSpec:
    """What one dataset gives for each sample.

    Attributes:
        name: as the configuration names it: the key in a batch of several inputs.
        shape: of one sample without the batch, channels first; of one step where samples are ``ragged``.
        dtype: NumPy's name of the type in a batch; inputs come as they are stored (``uint8``).
        channels: on which axis of the stored values the channels lie; ``none``: one is added.
        ragged: samples differ in length.
        window: samples are windows of a stream.
        crop: samples are crops of that size from the last axes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    channels: Literal["first", "last", "none"] = "first"
    ragged: bool = False
    window: Window | None = None
    crop: tuple[int, ...] | None = None


@dataclass(frozen=True)
class DataSpec:
    """The shapes and meaning of a data set's samples.

    Attributes:
        inputs: one for each dataset of inputs.
        targets: likewise; the task and the classes are those of the first.
        task: ``classification``: one class for each sample; ``labelling``: one for each of its steps, pixels or voxels;
            ``regression``: one or more values.
        num_outputs: number of classes, or of target values per sample.
        class_names: names of the classes, empty for regression.
        sizes: samples in each split that exists (``{"train": 60000, …}``).
        file: absolute path of the HDF5 file.
        checksum: ``sha256:…`` of the content, or ``sampled-sha256:…`` for a large file that this project did not write.
        name: the data source's name, or the file's stem.
    """

    inputs: tuple[FieldSpec, ...]
    targets: tuple[FieldSpec, ...]
    task: TaskName
    num_outputs: int
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    file: str
    checksum: str
    name: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input without the batch: (channels, height, width), (features,), …"""
        return self.inputs[0].shape

    @property
    def input_dtype(self) -> str:
        """NumPy's name of the first input's stored type (``uint8``)."""
        return self.inputs[0].dtype

    @property
    def num_channels(self) -> int:
        """Size of the first axis of an input: channels of an image, features of a vector."""
        return self.input_shape[0]

    def batch(self, columns: Iterable[Any]) -> Any:
        """A batch from its columns, one for each of ``inputs`` and then of ``targets``.

        Returns:
            ``(x, y)``; where there are several inputs or targets, a mapping of their names to them.
        """
        if len(self.inputs) == len(self.targets) == 1:
            return tuple(columns)
        return dict(zip((field.name for field in self.inputs + self.targets), columns, strict=True))

    @property
    def is_dense(self) -> bool:
        """Whether a batch is ``(x, y)`` with one array for each, of the same shape in every batch."""
        return len(self.inputs) == len(self.targets) == 1 and not any(f.ragged for f in self.inputs + self.targets)

    @property
    def kind(self) -> str:
        """What a batch is, in words."""
        if len(self.inputs) > 1 or len(self.targets) > 1:
            return "several inputs or targets"
        return f"samples of different lengths for {self.task}" if not self.is_dense else f"samples for {self.task}"
