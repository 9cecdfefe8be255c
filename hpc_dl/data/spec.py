"""What a model needs to know of its data: shapes, classes, task. Read from the HDF5 file, never
asked in the YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

TaskName = Literal[
    "classification",
    "multilabel",
    "regression",
    "segmentation",
    "sequence_labeling",
    "node_classification",
    "language_modeling",
    "sequence_to_sequence",
    "reconstruction",
    "generation",
    "embedding",
]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
#: Tasks that learn from the inputs alone.
WITHOUT_TARGETS: tuple[TaskName, ...] = ("reconstruction", "generation", "embedding")
#: Tasks with a class for each position of a sample: each pixel or voxel, step, node, next token.
PER_POSITION: tuple[TaskName, ...] = ("segmentation", "sequence_labeling", "node_classification", "language_modeling")
#: Tasks whose targets are class numbers.
WITH_CLASSES: tuple[TaskName, ...] = ("classification", "multilabel", *PER_POSITION, "sequence_to_sequence")

InputKind = Literal["vector", "series", "image", "volume", "sequence", "tokens", "graph", "several"]
#: One array of one shape for each sample: (F,), (C, T), (C, H, W), (C, D, H, W).
DENSE: tuple[InputKind, ...] = ("vector", "series", "image", "volume")
#: The inputs of a graph: the nodes' features (n, F), and the edges' ends (e, 2) as numbers of nodes
#: within the graph.
NODES, EDGES = "nodes", "edges"
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
        shape: of one sample without the batch, channels first; of one step where samples are
            ``ragged``.
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

    @property
    def channel_axis(self) -> int:
        """Where the channels lie in a batch: first, but after the steps of a window."""
        return 1 if self.window is None else 2


def input_kind_of(inputs: Sequence[FieldSpec]) -> InputKind:
    """What a sample with these inputs is."""
    if {NODES, EDGES} <= {field.name for field in inputs}:
        return "graph"
    if len(inputs) > 1:
        return "several"
    field = inputs[0]
    axes = len(field.shape) - (field.window is not None)  # of one step, where there are steps
    if field.ragged or field.window is not None:
        return "tokens" if axes == 0 and field.dtype.startswith(("int", "uint")) else "sequence"
    return DENSE[axes - 1] if axes <= len(DENSE) else "several"


def per_position_task(inputs: Sequence[FieldSpec], *, predicts_next: bool) -> TaskName:
    """The task that gives a class to each position of a sample with these inputs.

    Args:
        inputs: the fields of a sample.
        predicts_next: the classes are the inputs themselves, one or more steps later.
    """
    kind = input_kind_of(inputs)
    if kind == "graph":
        return "node_classification"
    if kind in ("image", "volume"):
        return "segmentation"
    return "language_modeling" if predicts_next else "sequence_labeling"


@dataclass(frozen=True)
class DataSpec:
    """The shapes and meaning of a data set's samples.

    Attributes:
        inputs: one for each dataset of inputs.
        targets: likewise; the task and the classes are those of the first.
        task: ``classification``: one class for each sample; ``multilabel``: some of several;
            ``segmentation``: one class for each pixel or voxel; ``sequence_labeling``: for each
            step; ``node_classification``: for each node of a graph; ``language_modeling``: the next
            token at each step; ``sequence_to_sequence``: a sequence of classes of its own length;
            ``regression``: one or more values. Without targets: ``reconstruction`` of the inputs,
            ``generation`` of similar ones, ``embedding`` of tokens by their contexts.
        num_outputs: number of classes, or of values per sample; of different tokens for
            ``embedding``.
        class_names: names of the classes or tokens, empty for values.
        sizes: samples in each split that exists (``{"train": 60000, …}``).
        file: absolute path of the HDF5 file.
        checksum: ``sha256:…`` of the content, or ``sampled-sha256:…`` for a large file that this
            project did not write.
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

    @property
    def input_kind(self) -> InputKind:
        """What a sample is, which decides which architectures can learn from it."""
        return input_kind_of(self.inputs)

    @property
    def inputs_in_words(self) -> str:
        """Kind and shape of the inputs."""
        fields = ", ".join(f"{field.name} {field.shape}" for field in self.inputs)
        return f"inputs of the kind {self.input_kind} ({fields})"

    def batch(self, columns: Iterable[Any]) -> Any:
        """A batch from its columns, one for each of ``inputs`` and then of ``targets``.

        Returns:
            ``(x, y)``, or ``(x,)`` without targets; a mapping of their names to them where there
            are several.
        """
        if len(self.inputs) == 1 and len(self.targets) <= 1:
            return tuple(columns)
        return dict(zip((field.name for field in self.inputs + self.targets), columns, strict=True))

    @property
    def is_dense(self) -> bool:
        """Whether a batch is ``(x, y)`` or ``(x,)`` with one array for each, of the same shape in
        every batch.
        """
        single = len(self.inputs) == 1 and len(self.targets) <= 1
        return single and not any(field.ragged for field in self.inputs + self.targets)
