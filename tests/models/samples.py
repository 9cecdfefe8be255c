"""Small data of every kind and for every task, as batches that a training step gets."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from hpc_dl import models
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import EDGES, NODES, PER_POSITION, DataSpec, FieldSpec, InputKind, TaskName, Window
from hpc_dl.models.base import ModelConfig
from tests.experiments import spec

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
    """What an architecture is told of such data."""
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
    """A batch, scaled, as ``training_step`` gets it."""
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
    # A ring, and one more edge across: every node has a neighbor.
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


def one_of(batch: Any, number: int) -> Any:
    """The batch of a single sample out of a batch."""

    def part(value: Any) -> Any:
        only = slice(number, number + 1)
        return value.part(only) if isinstance(value, Ragged) else value[only]

    return {k: part(v) for k, v in batch.items()} if isinstance(batch, dict) else tuple(map(part, batch))


def combinations() -> Iterator[tuple[str, InputKind, TaskName]]:
    """Every architecture with each kind of inputs that it takes and each task that it is for."""
    for name in models.names():
        section = models.config_class(name)
        for kind in section.inputs:
            for task in section.tasks:
                if possible(kind, task):
                    yield name, kind, task


def possible(kind: InputKind, task: TaskName) -> bool:
    """Whether there are such data: no pixels in a vector, no next token without tokens."""
    return {
        "segmentation": kind in ("image", "volume"),
        "sequence_labeling": kind in ("series", "sequence", "tokens"),
        "node_classification": kind == "graph",
        "language_modeling": kind == "tokens",
        "sequence_to_sequence": kind == "tokens",
        "reconstruction": kind in _SHAPES,
        "generation": kind in _SHAPES,
        "embedding": kind == "tokens",
    }.get(task, kind != "several") and kind != "several"


def small(name: str) -> ModelConfig:
    """A small one of an architecture."""
    section = models.config_class(name)
    return section.model_validate({"name": name, **section.small})
