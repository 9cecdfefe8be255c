"""Feature rows for the baselines: one per sample, pixel, step or node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import EDGES, IGNORED, NODES, PER_POSITION, DataSpec
from hpc_dl.errors import ConfigError

_BATCH_SIZE = 256
#: The most rows that baselines are fitted on: more take long and gain little.
MOST_ROWS = 10_000
_NEIGHBORS = 1  # on each side of a pixel


@dataclass(frozen=True)
class Rows:
    """Features and targets.

    Attributes:
        x: features (N, F), float32.
        y: class numbers (N,), or values or labels (N, K).
    """

    x: NDArray[Any]
    y: NDArray[Any]


def rows_of(batches: HDF5DataModule, split: str, most: int | None, seed: int = 0) -> Rows:
    """Return the rows of a split.

    Args:
        batches: the data, scaled as in a training.
        split: ``train``, ``val`` or ``test``.
        most: the most rows to return, drawn at random; None for all.
        seed: of the random choice.

    Raises:
        ConfigError: a sample consists of several arrays that are not a graph.
    """
    spec = batches.spec
    if spec.input_kind == "several":
        raise ConfigError.at("data.inputs", f"no baseline takes {spec.inputs_description}")
    size = spec.sizes[split]
    generator = np.random.default_rng(seed)
    per_sample = int(np.prod(spec.targets[0].shape)) if spec.task in PER_POSITION else 1
    samples = np.arange(size)
    if most is not None and size * per_sample > most:
        # A few whole images or sequences are read, and positions are drawn from them below.
        samples = np.sort(generator.permutation(size)[: max(min(size, 8), most // per_sample)])
    parts = []
    for start in range(0, len(samples), _BATCH_SIZE):
        batch = batches.preprocessed(batches.read_batch(split, samples[start : start + _BATCH_SIZE]))
        parts.append(_with_class(_rows(spec, batch)) if spec.ignores else _rows(spec, batch))
    x, y = np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])
    if most is not None and len(x) > most:
        chosen = np.sort(generator.permutation(len(x))[:most])
        x, y = x[chosen], y[chosen]
    return Rows(x, y)


def _with_class(rows: Rows) -> Rows:
    """Return the rows that have a class, or know all of their labels."""
    known = (rows.y != IGNORED).reshape(len(rows.y), -1).all(1)
    return Rows(rows.x[known], rows.y[known])


def _rows(spec: DataSpec, batch: Any) -> Rows:
    if spec.input_kind == "graph":
        return _graph_rows(spec, batch)
    x, y = batch if len(batch) == 2 else (batch[0], batch[0])
    if spec.task in PER_POSITION:
        return _step_rows(x, y) if isinstance(x, Ragged) else position_rows(np.asarray(x), np.asarray(y))
    if isinstance(x, Ragged):
        values = np.asarray(x.values)
        parts = np.split(values, np.asarray(x.offsets)[1:-1])
        rows = _token_counts(parts, spec) if values.ndim == 1 else np.stack([_summary(part) for part in parts])
    else:
        rows = np.asarray(x).reshape(len(x), -1)
    return Rows(rows.astype(np.float32), np.asarray(y))


def _summary(steps: NDArray[Any]) -> NDArray[Any]:
    """Mean, deviation, minimum, maximum, first and last step (T, F) → (6 F + 1), and the length."""
    if not len(steps):
        return np.zeros(6 * steps.shape[1] + 1)
    parts = [steps.mean(0), steps.std(0), steps.min(0), steps.max(0), steps[0], steps[-1]]
    return np.concatenate([*parts, [len(steps)]])


def _token_counts(sequences: list[NDArray[Any]], spec: DataSpec) -> NDArray[Any]:
    """The count of each token in each sequence (a bag of words)."""
    most = 1 + max((int(tokens.max()) for tokens in sequences if len(tokens)), default=0)
    width = max(most, spec.num_outputs, 256)
    return np.stack([np.bincount(tokens, minlength=width)[:width] for tokens in sequences])


def _step_rows(x: Ragged, y: Any) -> Rows:
    """Rows per step: its features, and those of the previous and the next step."""
    values = np.asarray(x.values).reshape(len(x.values), -1)
    before, after = np.roll(values, 1, 0), np.roll(values, -1, 0)
    starts, ends = np.asarray(x.offsets)[:-1], np.asarray(x.offsets)[1:] - 1
    inside = ends >= starts
    before[starts[inside]], after[ends[inside]] = 0, 0
    labels = np.asarray(y.values if isinstance(y, Ragged) else y).reshape(-1)
    return Rows(np.concatenate([values, before, after], 1).astype(np.float32), labels)


def position_rows(x: NDArray[Any], y: NDArray[Any]) -> Rows:
    """Rows per pixel or voxel: its neighborhood.

    (B, C, *positions) → (B · positions, C · 3^axes)
    """
    if x.ndim == y.ndim:  # steps of a window: (B, T)
        x = x[:, None]
    axes = tuple(range(2, x.ndim))
    width = [(0, 0), (0, 0)] + [(_NEIGHBORS, _NEIGHBORS)] * len(axes)
    padded = np.pad(x, width, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (2 * _NEIGHBORS + 1,) * len(axes), axis=axes)
    rows = np.moveaxis(around, 1, 1 + len(axes)).reshape(y.size, -1)
    return Rows(rows.astype(np.float32), y.reshape(-1))


def _graph_rows(spec: DataSpec, batch: dict[str, Any]) -> Rows:
    """Rows per node: its features, out- and in-degree; per graph: the mean over its nodes."""
    nodes, edges = batch[NODES], batch[EDGES]
    offsets = np.asarray(nodes.offsets)
    graph_of_edge = np.repeat(np.arange(len(offsets) - 1), np.diff(np.asarray(edges.offsets)))
    ends = np.asarray(edges.values).reshape(-1, 2) + offsets[graph_of_edge][:, None]
    num_nodes = len(nodes.values)
    degrees = np.stack([np.bincount(ends[:, side], minlength=num_nodes) for side in (0, 1)], 1)
    rows = np.concatenate([np.asarray(nodes.values).reshape(num_nodes, -1), np.log1p(degrees)], 1)
    targets = batch[spec.targets[0].name]
    if isinstance(targets, Ragged):
        return Rows(rows.astype(np.float32), np.asarray(targets.values))
    means = np.stack([part.mean(0) for part in np.split(rows, offsets[1:-1])])
    return Rows(means.astype(np.float32), np.asarray(targets))
