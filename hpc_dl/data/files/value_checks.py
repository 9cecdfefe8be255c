"""Checks of stored values: labels in range, finite targets, edges between existing nodes.

Inputs are not read here, except the edges of graphs. ``hpc-dl data verify`` reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.fields import Field, open_targets
from hpc_dl.data.files.labels import is_one_hot, plain_labels, with_uncounted
from hpc_dl.data.files.splits import Split, offsets_of
from hpc_dl.data.spec import EDGES, NODES, WITH_CLASSES, DataSpec, Labels
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.rows import RowReader, take_span
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

Rows = NDArray[np.intp] | range

# All labels are read where they determine the number of classes. Where the file names its classes,
# a sample of the labels is enough, and opening a file of any size takes only a moment.
_CHECKED_BYTES = 1 << 30
_CHECKED_NAMED_BYTES = 16 << 20
_PIECE_BYTES = 256 << 10
_SMALL_RANGE = 1 << 16
_MOST_LIKELY_CLASSES = 20


def check_targets(spec: DataSpec, splits: Mapping[str, Split], *, numbered: bool = True) -> dict[str, NDArray[Any]]:
    """Check the targets of every split, and return the distinct labels of each.

    Args:
        spec: the data set.
        splits: the place of each split.
        numbered: whether labels must be the numbers of the classes.

    Returns:
        The distinct stored labels by split, ascending, without ignored ones; empty for values.

    Raises:
        DataError: with the problems of all splits.
    """
    faults: list[Fault] = []
    labels: dict[str, NDArray[Any]] = {}
    for name, split in splits.items():
        for number, field in enumerate(open_targets(spec, split, as_stored=True)):
            place = f"{spec.file}:{split.targets[number]}"
            try:
                has_names = number == 0 and bool(spec.class_names) and numbered
                max_bytes = _CHECKED_NAMED_BYTES if has_names else _CHECKED_BYTES
                pieces = _rows_to_check(spec.sizes[name], field, split, max_bytes)
                if number == 0 and spec.task in WITH_CLASSES:
                    num_classes = 2 if spec.task == "multilabel" else len(spec.class_names) or None
                    limit = (num_classes - 1 if num_classes else np.inf) if numbered else None
                    stored_as = spec.targets[0].labels or Labels()
                    labels[name] = _check_labels(place, field.rows, pieces, limit, stored_as, split.counted)
                else:
                    _check_finite(place, field.rows, pieces)
            except DataError as error:  # the splits of an undivided file share the dataset
                faults += [fault for fault in error.faults if fault.where not in {known.where for known in faults}]
            finally:
                field.rows.close()
    if faults:
        raise DataError(*faults)
    return labels


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
            # Without offsets the datasets hold a single graph.
            node_starts = np.array([0, len(nodes)]) if node_offsets is None else node_offsets[()]
            edge_starts = np.array([0, len(edges)]) if edge_offsets is None else edge_offsets[()]
            count = min(len(edges), _CHECKED_BYTES // max(1, edges.dtype.itemsize * edges.shape[-1]))
            ends = edges[:count].reshape(count, -1)
            num_nodes = np.repeat(np.diff(node_starts), np.diff(edge_starts))[:count]
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


def _check_labels(
    place: str,
    reader: RowReader,
    pieces: Iterable[Rows],
    limit: float | None,
    stored_as: Labels,
    counted: NDArray[np.bool_] | None,
) -> NDArray[Any]:
    """Check the range of labels, and return the distinct ones.

    Args:
        place: of the dataset, for an error: ``FILE:/dataset``.
        reader: reads the labels as stored.
        pieces: the rows to check, in pieces that fit in memory.
        limit: the largest allowed class number, possibly infinite; None if labels may be anything.
        stored_as: how the labels are stored.
        counted: which rows count in this split; None for all.

    Raises:
        DataError: a label is not a class number, or is NaN.
    """
    found: NDArray[Any] | None = None
    for rows in pieces:
        labels, ignored = plain_labels(_take(reader, rows), stored_as, place)
        if counted is not None:
            ignored = np.broadcast_to(with_uncounted(ignored, counted[np.asarray(rows)], labels.ndim), labels.shape)
        if limit is not None or labels.dtype.kind == "f":
            _check_numbers(place, labels, ignored, rows, limit)
        piece = distinct(labels if ignored is None else labels[~ignored])
        found = piece if found is None else np.union1d(found, piece)
    assert found is not None
    return found


def _check_numbers(
    place: str, labels: NDArray[Any], ignored: NDArray[np.bool_] | None, rows: Rows, limit: float | None
) -> None:
    all_integers = limit is not None and labels.dtype.kind in "biu" and ignored is None and labels.size > 0
    if all_integers and labels.min() >= 0 and labels.max() <= limit:
        return
    table = labels.reshape(len(rows), -1)
    bad = ~np.isfinite(table) if limit is None else ~((table >= 0) & (table <= limit) & (table == np.floor(table)))
    if ignored is not None:
        bad &= ~ignored.reshape(len(rows), -1)
    if not bad.any():
        return
    position, column = np.argwhere(bad)[0]
    label = table[position, column].item()
    where = f"in row {rows[position]}"
    if label != label:
        raise DataError.at(
            place,
            f"NaN label {where}",
            remedy="set `data.ignore_label: nan` if it marks what has no class, or exclude such rows "
            "(`data.splits.indices`)",
        )
    if limit is not None and 0 <= label <= limit:
        raise DataError.at(
            place,
            f"a label {where} is not a whole number, so it is not a class",
            value=label,
            remedy="set `data.task: regression` for values, or `data.classes: remap` to number distinct labels",
        )
    allowed = "0 and above" if limit is None or np.isinf(limit) else f"0 to {int(limit)}"
    raise DataError.at(
        place,
        f"label out of range {where}",
        value=label,
        allowed=allowed if limit is None or np.isinf(limit) else f"{allowed} (`class_names`)",
        remedy="number the classes from 0 and name each of them, set `data.classes: remap` to number the distinct "
        f"labels, or `data.ignore_label: {label:g}` if it marks what has no class",
    )


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct values, ascending; integers in a small range without sorting."""
    if values.dtype.kind in "iu" and values.size:
        low, high = int(values.min()), int(values.max())
        if high - low < _SMALL_RANGE:
            seen = np.zeros(high - low + 1, bool)
            wide = values.reshape(-1) if values.dtype == np.uint64 else values.reshape(-1).astype(np.int64)
            first = wide.dtype.type(low)  # labels of 2^63 and more exceed int64, but not their differences
            seen[wide - first] = True
            return np.flatnonzero(seen).astype(wide.dtype) + first
    return np.unique(values)


def looks_like_classes(values: NDArray[Any], place: str) -> str:
    """Return what to report if values (N, K) for a regression look like classes, else nothing."""
    rows = values.reshape(len(values), -1)
    advice = "they are taken as values (regression); set `data.task: classification` if they are classes"
    if rows.shape[1] > 1 and is_one_hot(rows).all():
        return f"{place}: the targets look like one-hot rows of {rows.shape[1]} classes, but {advice}"
    found = np.unique(rows[:, 0])
    few = 2 <= len(found) <= min(_MOST_LIKELY_CLASSES, len(rows) // 5)
    if rows.shape[1] > 1 or not few or (found != np.floor(found)).any():
        return ""
    listed = shortened([f"{value:g}" for value in found], 5)
    return f"{place}: the targets are whole numbers ({listed}) stored as {values.dtype}, and {advice}"


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
