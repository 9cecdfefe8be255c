"""Small data of every kind and task, and every architecture that supports them."""

from dataclasses import replace
from typing import Any, NamedTuple, get_type_hints

import torch

from hpc_dl import models
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import EDGES, NODES, PER_POSITION, DataSpec, FieldSpec, InputKind, TaskName, Window
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelConfig
from tests.experiments import spec, training_recipe

CLASSES = 3
STEPS = 6
_SHAPES: dict[InputKind, tuple[int, ...]] = {
    "vector": (6,),
    "series": (2, 12),
    "image": (1, 12, 12),
    "volume": (1, 8, 8, 8),
}
_TARGETS: dict[TaskName, tuple[int, ...]] = {"classification": (), "multilabel": (CLASSES,), "regression": (2,)}


def data_of(kind: InputKind, task: TaskName) -> DataSpec:
    """The specification of small data of this kind and for this task."""
    classes = 2 if task == "regression" else CLASSES
    base = replace(spec(), task=task, num_outputs=classes, class_names=tuple("abc"[:classes]))
    inputs: tuple[FieldSpec, ...]
    if kind == "graph":
        inputs = (FieldSpec(NODES, (4,), "float32", ragged=True), FieldSpec(EDGES, (2,), "int64", ragged=True))
    elif kind == "sequence":
        inputs = (FieldSpec("inputs", (4,), "float32", ragged=True),)
    elif kind == "tokens" and task in ("language_modeling", "embedding"):
        inputs = (FieldSpec("inputs", (STEPS,), "int64", window=Window(STEPS, STEPS)),)
    elif kind == "tokens":
        inputs = (FieldSpec("inputs", (), "int64", ragged=True),)
    else:
        inputs = (FieldSpec("inputs", _SHAPES[kind], "float32"),)
    return replace(base, inputs=inputs, targets=_targets(kind, task, inputs))


def _targets(kind: InputKind, task: TaskName, inputs: tuple[FieldSpec, ...]) -> tuple[FieldSpec, ...]:
    if task in ("reconstruction", "generation", "embedding"):
        return ()
    if task == "sequence_to_sequence" or (task in PER_POSITION and inputs[0].ragged):
        return (FieldSpec("targets", (), "int64", ragged=True),)
    if task == "language_modeling":
        return (FieldSpec("next inputs", (STEPS,), "int64", window=Window(STEPS, STEPS, 1)),)
    if task in PER_POSITION:
        return (FieldSpec("targets", inputs[0].shape[1:], "int64"),)
    return (FieldSpec("targets", _TARGETS[task], "float32" if task == "regression" else "int64"),)


def batch_of(data: DataSpec, size: int = 4, seed: int = 1) -> Any:
    """A batch of random data as ``training_step`` gets it."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [3 + number % 4 for number in range(size)]
    if data.input_kind == "graph":
        columns: list[Any] = _graphs(lengths, generator)
    elif data.inputs[0].ragged:
        columns = [_ragged(lengths, data.inputs[0], generator)]
    elif data.input_kind == "tokens":
        columns = [torch.randint(CLASSES, (size, *data.input_shape), generator=generator)]
    else:
        columns = [torch.randn(size, *data.input_shape, generator=generator)]
    if data.targets:
        columns.append(_drawn_targets(data, lengths, generator))
    return data.batch(columns)


def _ragged(lengths: list[int], field: FieldSpec, generator: torch.Generator) -> Ragged:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    total = sum(lengths)
    if field.dtype == "int64":
        return Ragged(torch.randint(CLASSES, (total, *field.shape), generator=generator), offsets)
    return Ragged(torch.randn(total, *field.shape, generator=generator), offsets)


def _graphs(lengths: list[int], generator: torch.Generator) -> list[Ragged]:
    nodes = _ragged(lengths, FieldSpec(NODES, (4,), "float32"), generator)
    # A ring and one more edge: every node has a neighbor.
    rings = [torch.stack([torch.arange(n), (torch.arange(n) + 1) % n], 1) for n in lengths]
    edges = [torch.cat([ring, torch.tensor([[0, 2]])]) for ring in rings]
    return [nodes, Ragged(torch.cat(edges), torch.tensor([0, *map(len, edges)]).cumsum(0))]


def _drawn_targets(data: DataSpec, lengths: list[int], generator: torch.Generator) -> Any:
    field, size = data.targets[0], len(lengths)
    if data.task == "classification":
        return torch.arange(size) % data.num_outputs
    if data.task == "multilabel":
        return torch.randint(2, (size, data.num_outputs), generator=generator)
    if data.task == "regression":
        return torch.randn(size, data.num_outputs, generator=generator)
    if data.task == "sequence_to_sequence":
        return _ragged([length - 1 for length in lengths], field, generator)
    if field.ragged:
        return _ragged(lengths, field, generator)
    return torch.randint(data.num_outputs, (size, *field.shape), generator=generator)


def single_sample(batch: Any, index: int) -> Any:
    """The batch that holds only sample ``index`` of a batch."""

    def part(value: Any) -> Any:
        only = slice(index, index + 1)
        return value.part(only) if isinstance(value, Ragged) else value[only]

    return {k: part(v) for k, v in batch.items()} if isinstance(batch, dict) else tuple(map(part, batch))


class Combination(NamedTuple):
    """An architecture with one kind of inputs and one task that it supports."""

    name: str
    kind: InputKind
    task: TaskName

    def __str__(self) -> str:
        return " ".join(self)

    @property
    def data(self) -> DataSpec:
        """Small data of this kind and for this task."""
        return data_of(self.kind, self.task)

    @property
    def is_supervised(self) -> bool:
        """Whether the model has one network and one loss; the others have tests of their own."""
        return issubclass(model_class(self.name), Supervised)

    @property
    def maps_samples(self) -> bool:
        """Whether ``forward`` needs only the inputs (a decoder also reads the targets)."""
        return self.is_supervised and self.task != "sequence_to_sequence"

    def build(self, seed: int) -> Any:
        """A small model with the weights of a seed."""
        torch.manual_seed(seed)
        return small(self.name).build(self.data, training_recipe(self.data))


def combinations() -> list[Combination]:
    """Every architecture with each kind of inputs and each task that it supports."""
    return [
        Combination(name, kind, task)
        for name in models.names()
        for kind in models.config_class(name).inputs
        for task in models.config_class(name).tasks
        if possible(kind, task)
    ]


def model_class(name: str) -> type[TrainingModule]:
    """The class of an architecture's model, from the return annotation; builds nothing."""
    annotation = get_type_hints(models.config_class(name).module)["return"]
    assert issubclass(annotation, TrainingModule), f"{name}: annotate what `module` returns"
    return annotation


def possible(kind: InputKind, task: TaskName) -> bool:
    """Whether such data exist: a vector has no pixels, and only tokens have a next token."""
    if kind == "several":
        return False
    kinds: dict[TaskName, tuple[InputKind, ...]] = {
        "segmentation": ("image", "volume"),
        "sequence_labeling": ("series", "sequence", "tokens"),
        "node_classification": ("graph",),
        "language_modeling": ("tokens",),
        "sequence_to_sequence": ("tokens", *_SHAPES),
        "reconstruction": tuple(_SHAPES),
        "generation": tuple(_SHAPES),
        "embedding": ("tokens",),
    }
    return task not in kinds or kind in kinds[task]


def small(name: str) -> ModelConfig:
    """The configuration of a small model of an architecture."""
    section = models.config_class(name)
    return section.model_validate({"name": name, **section.small})
