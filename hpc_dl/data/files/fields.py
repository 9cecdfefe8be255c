"""What a dataset gives for each sample: a row, a stretch of rows, a window of a stream, a crop of a
volume.

All of them are rows that are taken in one operation, by the same readers
(``hpc_dl.data.storage.rows``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.splits import Part, offsets_of
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, Window
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.loaded import LoadedRows
from hpc_dl.data.storage.rows import RowReader, open_rows

Values = NDArray[Any] | Ragged

_SMALL_BYTES = 16 << 20
_CROPS = 2**63  # part of the seed's streams that the places of crops are drawn from


class Field(Protocol):
    """Values of the samples of one dataset; ``numbers`` are those of the samples in the file, from
    0.
    """

    rows: RowReader
    one_row: bool  # whether sample i is row i

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> Values:
        """The values of these samples, in this order.

        Args:
            numbers: the samples.
            epoch: of training, where the values depend on it; None in evaluation.
        """

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """All rows that :meth:`take` reads."""

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The first row of each sample: ascending where the numbers are."""


def open_fields(spec: DataSpec, part: Part, threads: int, seed: int) -> list[Field]:
    """Open what makes a sample: all inputs, then all targets.

    Args:
        spec: the data set.
        part: where in the file the split lies.
        threads: threads that decode chunks.
        seed: of what is drawn at random.

    Raises:
        DataError: the file cannot be opened.
    """
    opened: list[Field] = []
    try:
        for path, field in zip(part.inputs, spec.inputs, strict=True):
            opened.append(_open(open_rows(spec.file, path, threads=threads), spec.file, path, field, seed))
        for path, field in zip(part.targets, spec.targets, strict=True):
            # Compressed labels must not make the inputs wait for them, or be read in windows.
            rows = _small_in_memory(open_rows(spec.file, path, threads=threads))
            opened.append(_open(rows, spec.file, path, field, seed))
    except BaseException:
        for field_before in opened:
            field_before.rows.close()
        raise
    return opened


def open_targets(spec: DataSpec, part: Part) -> Iterator[Field]:
    """The fields of the targets, each opened when it is asked for; whoever asks closes it."""
    for path, field in zip(part.targets, spec.targets, strict=True):
        yield _open(open_rows(spec.file, path), spec.file, path, field, 0)


def _small_in_memory(rows: RowReader) -> RowReader:
    num_rows = rows.layout.shape[0]
    if rows.rows_together == 1 or num_rows * rows.layout.row_bytes > _SMALL_BYTES:
        return rows
    with closing(rows):
        return LoadedRows(rows.layout, rows.take(np.arange(num_rows)))


def _open(rows: RowReader, file: str, path: str, spec: FieldSpec, seed: int) -> Field:
    if spec.window is not None:
        return WindowField(rows, spec.window)
    if spec.crop is not None:
        return CropField(rows, spec.crop, seed)
    if spec.ragged:
        with open_file(file) as opened:
            offsets = offsets_of(find_dataset(opened, path, "data.inputs"))
            assert offsets is not None  # it was there when the spec was made
            return RaggedField(rows, offsets[()].astype(np.intp))
    return RowField(rows)


class RowField:
    """One row for each sample, (N, …)."""

    one_row = True

    def __init__(self, rows: RowReader) -> None:
        self.rows = rows

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """(B, …), see :class:`Field`."""
        return self.rows.take(numbers)

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers

    first_rows = rows_of


class RaggedField:
    """A stretch of rows for each sample: sample i has the rows ``offsets[i]`` to ``offsets[i + 1]``
    of (total, …).
    """

    one_row = False

    def __init__(self, rows: RowReader, offsets: NDArray[np.intp]) -> None:
        self.rows = rows
        self._offsets = offsets

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> Ragged:
        """See :class:`Field`."""
        lengths = self._offsets[numbers + 1] - self._offsets[numbers]
        return Ragged(self.rows.take(self.rows_of(numbers)), np.append(0, np.cumsum(lengths)))

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return stretches(self._offsets[numbers], self._offsets[numbers + 1])

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return self._offsets[numbers]


class WindowField:
    """Windows of one long stream (T, …): sample i has ``length`` rows from ``i * stride + shift``
    on.
    """

    one_row = False

    def __init__(self, rows: RowReader, window: Window) -> None:
        self.rows = rows
        self._stride = window.stride
        self._window = np.arange(window.shift, window.shift + window.length)

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """(B, length, …), see :class:`Field`."""
        found = self.rows.take(self.rows_of(numbers))
        return found.reshape(len(numbers), len(self._window), *found.shape[1:])

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return (numbers[:, None] * self._stride + self._window).reshape(-1)

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers * self._stride


class CropField:
    """A crop of each volume or image, (N, channels, …) → (B, channels, *size): at random in
    training, else the middle.

    The place is drawn from seed, epoch and sample, so that all crop fields of a sample are cut at
    the same place.
    """

    one_row = True

    def __init__(self, rows: RowReader, size: Sequence[int], seed: int) -> None:
        """Describe the crops.

        Args:
            rows: the volumes.
            size: of a crop, along the last axes.
            seed: of the places.
        """
        self.rows = rows
        self._size = tuple(size)
        stored = rows.layout.shape
        self._room = np.array(stored[len(stored) - len(size) :], np.intp) - size + 1  # possible places along each axis
        self._seed = seed

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """See :class:`Field`."""
        begins = np.array([self._begin(int(number), epoch) for number in numbers], np.intp)
        return self.rows.take_boxes(numbers, begins.reshape(len(numbers), len(self._size)), self._size)

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers

    first_rows = rows_of

    def _begin(self, number: int, epoch: int | None) -> NDArray[np.intp]:
        if epoch is None:
            middle: NDArray[np.intp] = (self._room - 1) // 2
            return middle
        key = np.array([self._seed % 2**64, epoch], np.uint64)
        generator = np.random.Philox(key=key, counter=np.array([0, 0, number, _CROPS], np.uint64))
        draws = generator.random_raw(len(self._room))
        places: NDArray[np.intp] = (draws % self._room.astype(np.uint64)).astype(np.intp)
        return places


def stretches(begins: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """``begins[0], begins[0] + 1, …, ends[0] - 1, begins[1], …`` in one array."""
    lengths = ends - begins
    places = np.cumsum(lengths) - lengths  # of each stretch in the result
    found: NDArray[np.intp] = np.arange(int(lengths.sum())) + np.repeat(begins - places, lengths)
    return found
