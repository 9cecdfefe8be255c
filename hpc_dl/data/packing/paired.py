"""Sources that store their samples in arrays: one pair of inputs and targets per split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.channels import channel_axis
from hpc_dl.data.files.format import Samples
from hpc_dl.data.files.labels import plain_text
from hpc_dl.data.packing.classes import class_notes, number_classes, remapped_classes
from hpc_dl.data.packing.source import Channels, PackOptions, Source, Values
from hpc_dl.data.packing.target_task import choose_task
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

_LABEL_ROWS = 1 << 20
_MOST_CLASSES = 1 << 31


class Column(Protocol):
    """An array on disk, read by rows."""

    name: str  #: ``FILE:/dataset``, for messages
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows_together: int  #: rows that are decoded together

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from ``start`` to ``stop``; fast if called in order."""

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """Return any rows; None if only reading in order is fast."""

    def close(self) -> None:
        """Close the file."""


class PairedSource(Source):
    """Inputs and targets in arrays: one pair per split, or one pair without splits.

    Args:
        path: the file or folder.
        kind: name of the format.
        pairs: inputs and targets by split; the key is empty if the source has no splits.
        options: how to read the arrays.
        files: all files that are read.
        own_format: whether hpc_dl wrote the file.
        groups: the group of each sample, for example its subject.
        attributes: attributes of the source, possibly with ``task`` and ``class_names``.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        pairs: Mapping[str, tuple[Column, Column]],
        options: PackOptions,
        files: list[Path],
        *,
        own_format: bool = False,
        groups: Column | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        stored = dict(attributes or {})
        self._pairs, self._groups = list(pairs.values()), groups
        if groups is not None and groups.shape[:1] != self._pairs[0][0].shape[:1]:
            raise DataError.at(
                groups.name, "does not have one group per sample", value=groups.shape, remedy="correct `--group`"
            )
        for inputs, targets in self._pairs:
            _check_pair(inputs, targets)
            _check_same_type(inputs, self._pairs[0][0])
            _check_same_type(targets, self._pairs[0][1])
        inputs, targets = self._pairs[0]
        self._channels = _channel_axis(inputs, "first" if own_format else options.channels)
        self._codes: NDArray[Any] | None = None
        names = options.class_names or tuple(stored.pop("class_names", ()))
        notes = []
        if targets.dtype.kind in "OSU":
            texts = [
                plain_text(value) for _, column in self._pairs for value in column.read(0, num_rows(column)).reshape(-1)
            ]
            self._codes, names = number_classes(texts, names, targets.name)
        elif _is_remapped(targets, options, str(stored.get("task", "auto"))):
            labels = [column.read(0, num_rows(column)) for _, column in self._pairs]
            self._codes, names = remapped_classes(np.concatenate(labels), options.class_names, targets.name)
        if self._codes is not None:
            notes += class_notes(names)
        stored_task = str(stored.pop("task", "auto"))
        task = options.task if options.task != "auto" else stored_task
        task = "classification" if self._codes is not None and task == "auto" else task
        task = task if self._codes is not None and task == "classification" else choose_task(targets, task)
        super().__init__(
            path=path,
            kind=kind,
            inputs=Values(
                self._channels_first(np.empty((0, *inputs.shape[1:]))).shape[1:], inputs.dtype.newbyteorder("=")
            ),
            targets=Values(
                () if task == "classification" else targets.shape[1:],
                self._codes.dtype if self._codes is not None else targets.dtype.newbyteorder("="),
            ),
            sizes={split or "train": num_rows(pair[0]) for split, pair in pairs.items()},
            has_splits=len(pairs) > 1,
            task=task,
            class_names=names if task != "regression" else (),
            attributes={key: str(value) for key, value in stored.items()},
            notes=notes,
            files=files,
        )
        if self._channels == "none" and len(inputs.shape) == 3:
            self.notes.append(
                f"inputs {inputs.shape} are stored as images (N, 1, H, W); for signals (N, C, T) use `--channels first`"
            )
        if task == "classification" and self._codes is None:
            self._check_labels(len(names))
        elif task == "regression":
            self._check_values()

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        first = 0  # sample number of the pair's first row
        for inputs, targets in self._pairs:
            num = num_rows(inputs)
            # A block consists of whole chunks, so that each chunk is decoded once.
            step = max(1, self.rows_per_block // inputs.rows_together) * inputs.rows_together
            row = max(0, start - first)
            while row < num:
                stop = min(num, (row // step + 1) * step)
                yield Samples(
                    np.ascontiguousarray(self._channels_first(inputs.read(row, stop))),
                    self._targets_of(targets, first, row, stop),
                )
                row = stop
            first += num

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        if self.task != "classification":
            return None
        return self._codes if self._codes is not None else np.concatenate(list(self._label_blocks()))

    def groups(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return None if self._groups is None else self._groups.read(0, num_rows(self._groups)).reshape(-1).astype(str)

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Source`; of the training samples only."""
        return self._pairs[0][0].take(rows % self.sizes["train"])

    def close(self) -> None:
        """See :class:`Source`."""
        for pair in self._pairs:
            for column in pair:
                column.close()
        if self._groups is not None:
            self._groups.close()

    @property
    def rows_together(self) -> int:
        """See :class:`Source`."""
        return self._pairs[0][0].rows_together

    def _targets_of(self, targets: Column, first: int, start: int, stop: int) -> NDArray[Any]:
        if self._codes is not None:
            return self._codes[first + start : first + stop]
        shape = (0,) if self.targets is None else self.targets.shape
        return np.ascontiguousarray(targets.read(start, stop).reshape(stop - start, *shape))

    def _channels_first(self, inputs: NDArray[Any]) -> NDArray[Any]:
        if self._channels == "last":
            return np.moveaxis(inputs, -1, 1)
        return inputs[:, None] if self._channels == "none" else inputs

    def _label_blocks(self) -> Iterator[NDArray[Any]]:
        """Yield all labels as int32, which is enough for any number of classes."""
        for _, targets in self._pairs:
            for _, labels in _row_blocks(targets):
                yield labels.reshape(-1).astype(np.int32)

    def _check_values(self) -> None:
        """Check that all targets are finite: a single NaN makes the loss of a training NaN."""
        for _, targets in self._pairs:
            for start, values in _row_blocks(targets):
                if len(invalid := np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))):
                    raise DataError.at(
                        targets.name,
                        f"has an infinite or missing target in sample {start + invalid[0]}",
                        value=values[invalid[0]].tolist(),
                        remedy="leave such samples out: `keep = np.isfinite(y); x, y = x[keep], y[keep]`",
                    )

    def _check_labels(self, num_classes: int) -> None:
        num_checked, occurring = 0, np.zeros(0, np.int32)
        for name, labels in ((column.name, labels) for _, column in self._pairs for _, labels in _row_blocks(column)):
            labels = labels.reshape(-1)
            invalid = (labels < 0) | (labels >= (num_classes or _MOST_CLASSES))
            if invalid.any():
                row = int(np.flatnonzero(invalid)[0])
                raise DataError.at(
                    name,
                    f"has a label out of range in sample {num_checked + row}",
                    value=int(labels[row]),
                    allowed=f"0 to {num_classes - 1} (the class names)" if num_classes else f"0 to {_MOST_CLASSES - 1}",
                    remedy="number those that occur with `--classes remap`, or use `--task regression`",
                )
            num_checked += len(labels)
            occurring = np.union1d(occurring, labels.astype(np.int32))
        absent = sorted(set(range(int(occurring[-1]) + 1)) - set(occurring.tolist())) if occurring[-1] < 1 << 20 else []
        if absent and not num_classes:
            self.notes.append(
                f"no sample has the labels {shortened(absent)}, but they count as classes; "
                "`--classes remap` numbers only those that occur"
            )


def _is_remapped(targets: Column, options: PackOptions, stored_task: str) -> bool:
    """Whether labels are numbered anew: on request, or if floats are requested to be classes."""
    if targets.dtype.kind not in "biuf" or options.task in ("regression", "segmentation"):
        return False
    asked = "classification" in (options.task, stored_task) and options.task in ("auto", "classification")
    return options.classes == "remap" or (targets.dtype.kind == "f" and targets.shape[1:] in ((), (1,)) and asked)


def _row_blocks(column: Column) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the rows of a column in blocks, with the number of the first row of each."""
    for start in range(0, num_rows(column), _LABEL_ROWS):
        yield start, column.read(start, min(start + _LABEL_ROWS, num_rows(column)))


def num_rows(column: Column) -> int:
    """Return the number of rows."""
    return column.shape[0]


def _check_pair(inputs: Column, targets: Column) -> None:
    if not inputs.shape or 0 in inputs.shape:
        raise DataError.at(inputs.name, "contains no samples", value=inputs.shape)
    if targets.shape[:1] != inputs.shape[:1]:
        raise DataError.at(
            targets.name,
            f"has targets of shape {targets.shape} for {inputs.shape[0]} inputs",
            remedy="choose arrays that belong together with `--inputs` and `--targets`",
        )
    for column, kinds in ((inputs, "biuf"), (targets, "biufOSU")):
        if column.dtype.kind not in kinds or (column.dtype.kind in "iuf" and column.dtype.itemsize > 8):
            raise DataError.at(
                column.name,
                "must contain numbers",
                value=str(column.dtype),
                allowed="bool, integers, floats up to 64 bits",
            )


def _check_same_type(column: Column, first: Column) -> None:
    if (column.shape[1:], column.dtype.kind) != (first.shape[1:], first.dtype.kind) or (
        column.dtype.kind in "biuf" and column.dtype != first.dtype
    ):
        raise DataError.at(
            column.name,
            "differs in shape or type from the training split",
            value=f"{column.dtype} {column.shape[1:]}",
            allowed=f"{first.dtype} {first.shape[1:]}",
            remedy="store all splits with the same shape and type",
        )


def _channel_axis(inputs: Column, setting: Channels) -> Channels:
    """The axis of the channels, found as in training, so a packed file keeps its meaning."""
    axis = channel_axis(inputs.shape, setting, where=inputs.name, option="--channels")
    if isinstance(axis, Fault):
        raise DataError(axis)
    return axis
