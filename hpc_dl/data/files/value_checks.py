"""Checks of stored values: labels in range, finite targets, edges between existing nodes.

Inputs are not read here, except the edges of graphs. ``hpc-dl data verify`` reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.fields import Field, open_targets
from hpc_dl.data.files.splits import Split, offsets_of
from hpc_dl.data.spec import EDGES, NODES, WITH_CLASSES, DataSpec
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.rows import RowReader, take_span
from hpc_dl.errors import DataError, Fault

Rows = NDArray[np.intp] | range

# All labels are read where they determine the number of classes. Where the file names its classes,
# a sample of the labels is enough, and opening a file of any size takes only a moment.
_CHECKED_BYTES = 1 << 30
_CHECKED_NAMED_BYTES = 16 << 20
_PIECE_BYTES = 256 << 10


def check_targets(spec: DataSpec, splits: Mapping[str, Split]) -> int:
    """Check the targets of every split, and return the largest label (0 for regression).

    Raises:
        DataError: with the problems of all splits.
    """
    faults: list[Fault] = []
    largest_label = 0
    for name, split in splits.items():
        for number, field in enumerate(open_targets(spec, split)):
            place = f"{spec.file}:{split.targets[number]}"
            try:
                has_names = number == 0 and bool(spec.class_names)
                max_bytes = _CHECKED_NAMED_BYTES if has_names else _CHECKED_BYTES
                pieces = _rows_to_check(spec.sizes[name], field, split, max_bytes)
                if number == 0 and spec.task in WITH_CLASSES:
                    num_classes = 2 if spec.task == "multilabel" else len(spec.class_names) or None
                    largest_label = max(largest_label, _check_labels(place, field.rows, pieces, num_classes))
                else:
                    _check_finite(place, field.rows, pieces)
            except DataError as error:
                faults += error.faults
            finally:
                field.rows.close()
    if faults:
        raise DataError(*faults)
    return largest_label


def check_edges(spec: DataSpec, splits: Mapping[str, Split]) -> None:
    """Check that edges end at nodes of their own graph; at most the first GiB of edges is read.

    Raises:
        DataError: an edge does not.
    """
    names = [field.name for field in spec.inputs]
    with open_file(spec.file) as file:
        for split in splits.values():
            nodes, edges = (
                find_dataset(file, split.inputs[names.index(name)], "data.inputs") for name in (NODES, EDGES)
            )
            node_offsets, edge_offsets = offsets_of(nodes), offsets_of(edges)
            if node_offsets is None or edge_offsets is None:
                continue
            count = min(len(edges), _CHECKED_BYTES // max(1, edges.dtype.itemsize * edges.shape[-1]))
            ends = edges[:count].reshape(count, -1)
            num_nodes = np.repeat(np.diff(node_offsets[()]), np.diff(edge_offsets[()]))[:count]
            bad_rows = np.flatnonzero(((ends < 0) | (ends >= num_nodes[:, None])).any(1))
            if len(bad_rows):
                row = int(bad_rows[0])
                raise DataError.at(
                    f"{spec.file}:{edges.name}",
                    f"the edge in row {row} ends at a node that its graph does not have",
                    value=ends[row].tolist(),
                    allowed=f"0 to {num_nodes[row] - 1}",
                    remedy="number the nodes of each graph from 0",
                )


def sample_ranges(size: int, field: Field, split: Split, max_bytes: int) -> Iterator[range]:
    """Yield ranges of samples to read piece by piece.

    The ranges cover the whole split. If it has more than ``max_bytes`` bytes, they are spread
    evenly over it, the last piece included.

    Args:
        size: number of samples in the split.
        field: the dataset to read.
        split: its place in the file.
        max_bytes: the most to read, approximately.
    """
    probe = split.dataset_indices(np.linspace(0, size - 1, min(size, 64)).astype(np.intp))
    bytes_per_sample = max(8, len(field.rows_of(probe)) * field.rows.layout.row_bytes // len(probe))
    step = max(1, _PIECE_BYTES // bytes_per_sample)
    num_pieces = -(-size // step)
    num_read = max(1, min(num_pieces, max_bytes // (step * bytes_per_sample)))
    for piece in np.linspace(0, num_pieces - 1, num_read):
        yield range(int(piece) * step, min((int(piece) + 1) * step, size))


def _rows_to_check(size: int, field: Field, split: Split, max_bytes: int) -> Iterator[Rows]:
    ranges = sample_ranges(size, field, split, max_bytes)
    if split.rows is None and field.one_row:
        return ranges
    indices = (split.dataset_indices(np.arange(samples.start, samples.stop)) for samples in ranges)
    return filter(len, map(field.rows_of, indices))


def _check_labels(place: str, reader: RowReader, pieces: Iterable[Rows], num_classes: int | None) -> int:
    """Check the range of labels, and return the largest one.

    Args:
        place: of the dataset, for an error: ``FILE:/dataset``.
        reader: reads the labels.
        pieces: the rows to check, in pieces that fit in memory.
        num_classes: the number of class names; None if there are none.

    Raises:
        DataError: a label is negative or has no class name.
    """
    largest_label = 0
    limit = np.inf if num_classes is None else num_classes - 1
    for rows in pieces:
        labels = _take(reader, rows)
        largest_label = max(largest_label, int(labels.max()))
        if labels.min() < 0 or largest_label > limit:
            table = labels.reshape(len(rows), -1)
            position, column = np.argwhere((table < 0) | (table > limit))[0]
            raise DataError.at(
                place,
                f"label out of range in row {rows[position]}",
                value=int(table[position, column]),
                allowed="0 and above" if num_classes is None else f"0 to {num_classes - 1} (`class_names`)",
                remedy="number the classes from 0 and name each of them, or exclude such rows (`data.splits.indices`)",
            )
    return largest_label


def _check_finite(place: str, reader: RowReader, pieces: Iterable[Rows]) -> None:
    for rows in pieces:
        values = _take(reader, rows)
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError.at(
                place,
                f"NaN or infinite target in row {rows[int(np.flatnonzero(bad)[0])]}",
                remedy="correct such targets, or exclude their samples (`data.splits.indices`)",
            )


def _take(reader: RowReader, rows: Rows) -> NDArray[Any]:
    return take_span(reader, rows.start, rows.stop) if isinstance(rows, range) else reader.take(rows)
