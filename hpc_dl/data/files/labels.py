"""Class numbers from stored labels: floats, one-hot rows, texts, and numbers with gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.spec import IGNORED, Label, Labels
from hpc_dl.data.storage.mapped import crops
from hpc_dl.data.storage.rows import RowReader
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

_MOST_LISTED = 8


class LabelRows:
    """Rows of labels, read as class numbers; ``IGNORED`` where a position has no class."""

    def __init__(self, rows: RowReader, labels: Labels | None, place: str, counted: NDArray[np.bool_] | None) -> None:
        """Serve class numbers.

        Args:
            rows: reads the labels as stored.
            labels: how they become class numbers; None for numbers that are classes already.
            place: of the dataset, for errors: ``FILE:/dataset``.
            counted: (rows,) which rows count in this split; None for all.
        """
        self.layout = rows.layout
        if labels is not None and labels.one_hot is not None:
            shape = list(rows.layout.shape)
            del shape[labels.one_hot]
            self.layout = replace(rows.layout, shape=tuple(shape))
        self.rows_together = rows.rows_together
        self.reading = rows.reading
        self._rows = rows
        self._labels = labels
        self._place = place
        self._counted = counted
        num_classes = len(labels.values) if labels is not None else 0
        self._dtype = np.int8 if 0 < num_classes <= 127 else np.int64
        self._table = label_array(labels.values) if labels is not None and labels.values else None
        self._order = None if self._table is None else np.argsort(self._table, kind="stable")

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        return self._numbers(self._rows.take(rows), rows)

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        if self._labels is not None and self._labels.one_hot is not None:
            return crops(self.take(rows), np.arange(len(rows)), starts, size)
        return self._numbers(self._rows.take_crops(rows, starts, size), rows)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows.prefetch(rows)

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows.preload()

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows.close()

    def _numbers(self, stored: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
        values, ignored = (stored, None) if self._labels is None else plain_labels(stored, self._labels, self._place)
        if self._counted is not None:
            ignored = with_uncounted(ignored, self._counted[rows], values.ndim)
        if ignored is not None:
            values = np.where(ignored, values.dtype.type() if self._table is None else self._table[0], values)
        numbers: NDArray[Any] = values.astype(np.int64) if self._table is None else self._classes_of(values)
        if ignored is not None:
            numbers[np.broadcast_to(ignored, numbers.shape)] = IGNORED
        return numbers

    def _classes_of(self, values: NDArray[Any]) -> NDArray[Any]:
        assert self._table is not None and self._order is not None
        positions = np.searchsorted(self._table, values, sorter=self._order).clip(max=len(self._table) - 1)
        classes: NDArray[np.intp] = self._order[positions]
        unknown = self._table[classes] != values
        if unknown.any():
            raise unknown_label(self._place, values[unknown].reshape(-1)[0], self._labels)
        return classes.astype(self._dtype)


def with_uncounted(ignored: NDArray[np.bool_] | None, counted: NDArray[np.bool_], num_axes: int) -> NDArray[np.bool_]:
    """Return which labels to ignore, those of rows that do not count included."""
    uncounted: NDArray[np.bool_] = ~counted.reshape(-1, *[1] * (num_axes - 1))
    return uncounted if ignored is None else ignored | uncounted


def unknown_label(place: str, label: Any, labels: Labels | None) -> DataError:
    """Return the error for a label that is not one of the classes."""
    known = shortened([str(value) for value in (labels.values if labels else ())], _MOST_LISTED)
    return DataError.at(
        place,
        "contains a label that is not one of the classes",
        value=label_of(label),
        allowed=known,
        remedy="add it to the list `data.classes`, or exclude such rows (`data.splits.indices`)",
    )


def plain_labels(stored: NDArray[Any], labels: Labels, place: str) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return labels as numbers or texts, one for each position, and which of them to ignore.

    Args:
        stored: labels as stored, (rows, …).
        labels: how they are stored.
        place: of the dataset, for errors.

    Raises:
        DataError: a row is not one-hot.
    """
    if labels.one_hot is not None:
        stored = np.moveaxis(stored, labels.one_hot, -1)
        ignored = _all_ignored(stored, labels.ignore)
        classes = np.argmax(stored, -1)
        wrong = ~is_one_hot(stored) if ignored is None else ~(is_one_hot(stored) | ignored)
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0].tolist())
            raise DataError.at(
                place,
                "must contain one-hot rows, with a single 1 for the class and 0 for the others",
                value=stored[first].tolist(),
                remedy="store the class numbers, or set `data.task: multilabel` for several labels per sample",
            )
        return classes, ignored
    if stored.dtype.kind in "OS":
        stored = texts(stored)
    return stored, _ignored(stored, labels.ignore)


def is_one_hot(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the last axis holds a single 1 and otherwise 0."""
    ones: NDArray[np.bool_] = ((values == 0) | (values == 1)).all(-1) & ((values == 1).sum(-1) == 1)
    return ones


def texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """Return texts without padding, from bytes of fixed or variable length."""
    return np.array([plain_text(value) for value in values.reshape(-1).tolist()], np.str_).reshape(values.shape)


def plain_text(value: str | bytes) -> str:
    """Return a label without the spaces and null characters that pad it to a fixed length.

    Bytes that are not UTF-8 are escaped, so that two labels never become the same.
    """
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text.strip(" \t\r\n\0")


def label_array(values: tuple[Label, ...]) -> NDArray[Any]:
    """Return labels as one array of numbers or of texts."""
    if any(isinstance(value, str) for value in values):
        return np.array([plain_text(str(value)) for value in values], np.str_)
    return np.array(values)


def label_of(value: Any) -> Label:
    """Return a label as a plain Python value; whole numbers become integers."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value


def _ignored(values: NDArray[Any], ignore: int | str | None) -> NDArray[np.bool_] | None:
    result: NDArray[np.bool_]
    if values.dtype.kind == "f" and ignore == "nan":
        result = np.isnan(values)
        return result
    if ignore is None or isinstance(ignore, str) != (values.dtype.kind == "U"):
        return None
    result = values == ignore
    return result


def _all_ignored(rows: NDArray[Any], ignore: int | str | None) -> NDArray[np.bool_] | None:
    """Which one-hot rows consist of the ignored label only, or, with one set, of zeros only."""
    if ignore is None:
        return None
    ignored = _ignored(rows, ignore)
    zeros: NDArray[np.bool_] = (rows == 0).all(-1)
    return zeros if ignored is None else zeros | ignored.all(-1)
