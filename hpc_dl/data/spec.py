"""What a model needs to know of its data: shapes, classes, task.

All of it is read from the HDF5 file; nothing has to be repeated in the YAML.
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
#: Tasks that need no targets.
WITHOUT_TARGETS: tuple[TaskName, ...] = ("reconstruction", "generation", "embedding")
#: Tasks with one class per position of a sample: per pixel or voxel, step, node, or next token.
PER_POSITION: tuple[TaskName, ...] = ("segmentation", "sequence_labeling", "node_classification", "language_modeling")
#: Tasks whose targets are class numbers.
WITH_CLASSES: tuple[TaskName, ...] = ("classification", "multilabel", *PER_POSITION, "sequence_to_sequence")

InputKind = Literal["vector", "series", "image", "volume", "sequence", "tokens", "graph", "several"]
ChannelAxis = Literal["first", "last", "none"]
#: Every sample is an array of the same shape: (F,), (C, T), (C, H, W), (C, D, H, W).
DENSE: tuple[InputKind, ...] = ("vector", "series", "image", "volume")
#: The inputs of a graph: node features (n, F), and the two ends of each edge (e, 2) as numbers of
#: nodes in the graph.
NODES, EDGES = "nodes", "edges"
SPLITS = ("train", "val", "test")
#: The class number of padding and of positions without a label, which loss and metrics ignore.
IGNORED = -100

Label = int | float | str


@dataclass(frozen=True)
class Window:
    """Windows of equal length, cut from one long stream.

    Attributes:
        length: steps in each window.
        stride: steps from the start of one window to the start of the next.
        shift: steps by which all windows start after step 0, such as 1 for next tokens.
    """

    length: int
    stride: int
    shift: int = 0


@dataclass(frozen=True)
class Labels:
    """How stored labels become class numbers.

    Attributes:
        values: the stored label of each class; empty if labels are the numbers of the classes.
        one_hot: axis of one-hot rows in the stored values, 1 or -1; None without such an axis.
        ignore: the stored label of what has no class; ``nan`` also for NaN.
    """

    values: tuple[Label, ...] = ()
    one_hot: int | None = None
    ignore: int | str | None = None


@dataclass(frozen=True)
class FieldSpec:
    """What one dataset contributes to each sample.

    Attributes:
        name: as in the configuration; the key in a batch of several inputs.
        shape: of one sample without the batch axis, channels first; of one step if samples are
            ``ragged``.
        dtype: NumPy's name of the type in a batch; inputs keep their stored type (``uint8``).
        channels: axis of the channels in the stored values; ``none``: an axis is added.
        ragged: whether samples differ in length.
        window: how windows are cut from a stream; None if the dataset holds samples.
        crop: size of the crop along the last axes; None for whole samples.
        labels: how the stored values become class numbers; None if they are stored as such.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    channels: ChannelAxis = "first"
    ragged: bool = False
    window: Window | None = None
    crop: tuple[int, ...] | None = None
    labels: Labels | None = None

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batch: 1, or 2 after the steps of a window."""
        return 1 if self.window is None else 2

    @property
    def has_pixels(self) -> bool:
        """Whether a sample, or a step of it, is an image or volume: channels and two more axes."""
        return len(self.shape) - (self.window is not None) >= 3


def input_kind_of(inputs: Sequence[FieldSpec]) -> InputKind:
    """Return the kind of a sample with these inputs."""
    if {NODES, EDGES} <= {field.name for field in inputs}:
        return "graph"
    if len(inputs) > 1:
        return "several"
    field = inputs[0]
    num_axes = len(field.shape) - (field.window is not None)  # of one step, if there are steps
    if field.ragged or field.window is not None:
        return "tokens" if num_axes == 0 and field.dtype.startswith(("int", "uint")) else "sequence"
    return DENSE[num_axes - 1] if num_axes <= len(DENSE) else "several"


def per_position_task(inputs: Sequence[FieldSpec], *, predicts_next: bool) -> TaskName:
    """Return the task that assigns a class to each position of a sample with these inputs.

    Args:
        inputs: the input fields of a sample.
        predicts_next: whether the classes are the inputs themselves, one or more steps later.
    """
    kind = input_kind_of(inputs)
    if kind == "graph":
        return "node_classification"
    if kind in ("image", "volume"):
        return "segmentation"
    return "language_modeling" if predicts_next else "sequence_labeling"


@dataclass(frozen=True)
class DataSpec:
    """Shapes and meaning of the samples of a data set.

    Attributes:
        inputs: one field per input dataset.
        targets: one field per target dataset; task and classes are those of the first.
        task: ``classification``: one class per sample; ``multilabel``: any number of labels per
            sample; ``segmentation``: one class per pixel or voxel; ``sequence_labeling``: one per
            step; ``node_classification``: one per node of a graph; ``language_modeling``: the next
            token at each step; ``sequence_to_sequence``: a sequence of classes of any length,
            also for inputs that are none; ``regression``: one or more values. Without targets:
            ``reconstruction`` of the inputs, ``generation`` of similar ones, ``embedding`` of
            tokens by their contexts.
        num_outputs: number of classes, of values per sample, or of distinct tokens for
            ``embedding``.
        class_names: names of the classes or tokens; empty for values.
        sizes: number of samples in each existing split (``{"train": 60000, …}``).
        file: absolute path of the HDF5 file.
        checksum: ``sha256:…`` of the content, or ``sampled-sha256:…`` for a large file that hpc_dl
            did not write.
        name: the name of the source, or the stem of the file name.
        notes: choices that were made automatically, and what looks like a mistake.
        ignores: whether some positions or samples have no class and are ``IGNORED``.
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
    notes: tuple[str, ...] = ()
    ignores: bool = False

    @property
    def labels_of_classes(self) -> tuple[Label, ...]:
        """The stored labels of class 0, 1, …; empty if labels are the numbers of the classes."""
        labels = self.targets[0].labels if self.targets else None
        return () if labels is None else labels.values

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the first input without the batch: (channels, height, width), …"""
        return self.inputs[0].shape

    @property
    def input_dtype(self) -> str:
        """NumPy's name of the stored type of the first input (``uint8``)."""
        return self.inputs[0].dtype

    @property
    def num_channels(self) -> int:
        """The size of the first axis: channels of an image, features of a vector."""
        return self.input_shape[0]

    @property
    def input_kind(self) -> InputKind:
        """The kind of a sample, which determines the architectures that accept it."""
        return input_kind_of(self.inputs)

    @property
    def inputs_description(self) -> str:
        """The kind and shapes of the inputs, for messages."""
        fields = ", ".join(f"{field.name} {field.shape}" for field in self.inputs)
        return f"inputs of kind {self.input_kind} ({fields})"

    def batch(self, columns: Iterable[Any]) -> Any:
        """Build a batch from its columns, one per field of ``inputs`` and then of ``targets``.

        Returns:
            ``(x, y)``, or ``(x,)`` without targets; a mapping from field names to columns if there
            are several inputs or targets.
        """
        if len(self.inputs) == 1 and len(self.targets) <= 1:
            return tuple(columns)
        return dict(zip((field.name for field in self.inputs + self.targets), columns, strict=True))

    @property
    def is_dense(self) -> bool:
        """Whether every batch is ``(x, y)`` or ``(x,)`` of arrays with a constant sample shape."""
        single = len(self.inputs) == 1 and len(self.targets) <= 1
        return single and not any(field.ragged for field in self.inputs + self.targets)


#: The data of a module with its own loaders: nothing is known of them.
OWN_DATA = DataSpec((), (), "regression", 0, (), {}, file="", checksum="own loaders", name="its own loaders")
