"""Fields: how the rows of a dataset become samples.

A sample is one row, several consecutive rows, a window of a stream, or a crop of a volume. In every
case the rows of a batch are read in one operation, by the readers of ``hpc_dl.data.storage.rows``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.labels import LabelRows
from hpc_dl.data.files.splits import Split, offsets_of
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, Window
from hpc_dl.data.storage.hdf5 import find_dataset, open_file, reports_damage
from hpc_dl.data.storage.loaded import LoadedRows
from hpc_dl.data.storage.rows import RowReader, open_rows

Values = NDArray[Any] | Ragged

_SMALL_BYTES = 16 << 20
_CROPS = 2**63  # the random stream of the seed that positions of crops are drawn from


class Field(Protocol):
    """The samples of one dataset.

    ``numbers`` are the positions of samples in the dataset, counted from 0.
    """

    rows: RowReader
    one_row: bool  #: whether sample i is row i

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> Values:
        """Return the values of these samples, in this order.

        Args:
            numbers: the samples.
            epoch: the training epoch, if the values depend on it; None in evaluation.
        """

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return all rows that :meth:`take` reads."""

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the first row of each sample; ascending if the numbers are."""


@reports_damage
def open_fields(spec: DataSpec, split: Split, threads: int, seed: int) -> list[Field]:
    """Open the fields of a sample: all inputs, then all targets.

    Args:
        spec: the data set.
        split: the datasets of the split.
        threads: number of threads that decode chunks.
        seed: seed of random crops.

    Raises:
        DataError: the file cannot be opened.
    """
    opened: list[Field] = []
    try:
        for path, field in zip(split.inputs, spec.inputs, strict=True):
            opened.append(_open(open_rows(spec.file, path, threads=threads), spec.file, path, field, seed))
        for path, field in zip(split.targets, spec.targets, strict=True):
            # Small compressed labels must not slow the inputs down, or force reading in windows.
            rows = _small_in_memory(_labels(open_rows(spec.file, path, threads=threads), spec, path, field, split))
            opened.append(_open(rows, spec.file, path, field, seed))
    except BaseException:
        for field_opened in opened:
            field_opened.rows.close()
        raise
    return opened


def open_targets(spec: DataSpec, split: Split, *, as_stored: bool = False) -> Iterator[Field]:
    """Yield the fields of the targets, each opened on demand; the caller closes them.

    Args:
        spec: the data set.
        split: the datasets of the split.
        as_stored: read labels as they are stored, not as class numbers.
    """
    for path, field in zip(split.targets, spec.targets, strict=True):
        rows = open_rows(spec.file, path)
        yield _open(rows if as_stored else _labels(rows, spec, path, field, split), spec.file, path, field, 0)


def _labels(rows: RowReader, spec: DataSpec, path: str, field: FieldSpec, split: Split) -> RowReader:
    """Return a reader of class numbers; the same one where labels are stored as such."""
    counted = split.counted if field == spec.targets[0] else None
    if field.labels is None and counted is None:
        return rows
    return LabelRows(rows, field.labels, f"{spec.file}:{path}", counted)


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
            # Without offsets the dataset holds the only graph of a file (`data.splits.nodes`).
            starts = np.array([0, rows.layout.shape[0]]) if offsets is None else offsets[()]
            return RaggedField(rows, starts.astype(np.intp))
    return RowField(rows)


class RowField:
    """Samples that are rows of (N, …)."""

    one_row = True

    def __init__(self, rows: RowReader) -> None:
        self.rows = rows

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """Return (B, …); see :class:`Field`."""
        return self.rows.take(numbers)

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers

    first_rows = rows_of


class RaggedField:
    """Samples of different lengths.

    Sample i consists of the rows ``offsets[i]`` to ``offsets[i + 1] - 1`` of (total, …).
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
        return concatenated_ranges(self._offsets[numbers], self._offsets[numbers + 1])

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return self._offsets[numbers]


class WindowField:
    """Windows of one long stream (T, …).

    Sample i consists of ``length`` rows, starting at row ``i * stride + shift``.
    """

    one_row = False

    def __init__(self, rows: RowReader, window: Window) -> None:
        self.rows = rows
        self._stride = window.stride
        self._window = np.arange(window.shift, window.shift + window.length)

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """Return (B, length, …); see :class:`Field`."""
        rows = self.rows.take(self.rows_of(numbers))
        return rows.reshape(len(numbers), len(self._window), *rows.shape[1:])

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return (numbers[:, None] * self._stride + self._window).reshape(-1)

    def first_rows(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers * self._stride


class CropField:
    """Crops of images or volumes, (N, channels, …) → (B, channels, *size).

    The position is random in training and central in evaluation. It depends on seed, epoch and
    sample only, so inputs and targets of a sample are cropped at the same position.
    """

    one_row = True

    def __init__(self, rows: RowReader, size: Sequence[int], seed: int) -> None:
        """Prepare crops of one size.

        Args:
            rows: reads the images or volumes.
            size: of a crop, along the last axes.
            seed: seed of the positions.
        """
        self.rows = rows
        self._size = tuple(size)
        stored = rows.layout.shape
        # Possible positions along each axis.
        self._num_positions = np.array(stored[len(stored) - len(size) :], np.intp) - size + 1
        self._seed = seed

    def take(self, numbers: NDArray[np.intp], epoch: int | None) -> NDArray[Any]:
        """See :class:`Field`."""
        starts = np.array([self._start(int(number), epoch) for number in numbers], np.intp)
        return self.rows.take_crops(numbers, starts.reshape(len(numbers), len(self._size)), self._size)

    def rows_of(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """See :class:`Field`."""
        return numbers

    first_rows = rows_of

    def _start(self, number: int, epoch: int | None) -> NDArray[np.intp]:
        if epoch is None:
            middle: NDArray[np.intp] = (self._num_positions - 1) // 2
            return middle
        key = np.array([self._seed % 2**64, epoch], np.uint64)
        generator = np.random.Philox(key=key, counter=np.array([0, 0, number, _CROPS], np.uint64))
        draws = generator.random_raw(len(self._num_positions))
        start: NDArray[np.intp] = (draws % self._num_positions.astype(np.uint64)).astype(np.intp)
        return start


def concatenated_ranges(starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return ``starts[0], starts[0] + 1, …, ends[0] - 1, starts[1], …`` as one array."""
    lengths = ends - starts
    positions = np.cumsum(lengths) - lengths  # where each range starts in the result
    numbers: NDArray[np.intp] = np.arange(int(lengths.sum())) + np.repeat(starts - positions, lengths)
    return numbers
