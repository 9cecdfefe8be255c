"""Tables as a source: the inputs are columns of numbers, the targets one or several columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.classes import number_classes
from hpc_dl.data.packing.source import PackOptions, Source, Values
from hpc_dl.errors import DataError, nearest
from hpc_dl.formatting import shortened

_TARGET_NAMES = ("target", "targets", "label", "labels", "class", "y")


class Table(Source):
    """A table with inputs (N, columns), as float32 unless specified, and its targets in memory.

    Args:
        path: the file.
        kind: name of the format.
        columns: names of the input columns.
        targets: names of the target columns, for messages.
        values: the target columns: (N, K) numbers, or a list of N strings.
        options: how to read the table.
        dtype: type of the inputs.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        columns: Sequence[str],
        targets: Sequence[str],
        values: NDArray[Any] | list[str],
        options: PackOptions,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        where = f"{path}: column {', '.join(targets)}"
        if not len(values):
            raise DataError.at(path, "has no rows")
        task = options.task if options.task != "auto" else _task_of(values)
        names: tuple[str, ...] = ()
        if task == "classification":
            if not isinstance(values, list):
                if values.shape[1] > 1:
                    raise DataError.at(where, "are several columns of classes", remedy="choose one with `--targets`")
                values = [f"{value:g}" for value in values[:, 0]]
            self._targets, names = number_classes(values, options.class_names, where)
        elif task == "segmentation" or isinstance(values, list):
            raise DataError.at(where, f"does not fit the task {task}", remedy="use `--task classification`")
        else:
            if len(invalid := np.argwhere(~np.isfinite(values))):
                raise DataError.at(where, f"has an infinite or missing target in row {invalid[0, 0]}")
            self._targets = values.astype(np.float32).reshape(len(values), -1)
        super().__init__(
            path=path,
            kind=kind,
            inputs=Values((len(columns),), dtype or np.dtype(np.float32)),
            targets=Values(self._targets.shape[1:], self._targets.dtype),
            sizes={"train": len(self._targets)},
            has_splits=False,
            task=task,
            class_names=names,
            attributes={"description": f"columns: {', '.join(columns)}"},
            files=[path.absolute()],
        )
        if names:
            self.notes.append(f"{len(names)} classes, numbered in this order: {shortened(names)}")

    @abstractmethod
    def features(self, start: int) -> Iterator[NDArray[Any]]:
        """Yield the inputs from row ``start``, in blocks."""

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        for values in self.features(start):
            yield Samples(values, self._targets[start : start + len(values)])
            start += len(values)

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._targets if self.task == "classification" else None


def choose_columns(path: Path, columns: Sequence[str], options: PackOptions) -> tuple[list[str], list[str]]:
    """Return the columns of the inputs (by default all others) and of the targets.

    Raises:
        DataError: a column does not exist, or the target column cannot be inferred.
    """
    targets = _named(path, options.targets, columns, "--targets")
    if not targets:
        targets = [name for name in columns if name.lower() in _TARGET_NAMES][:1]
    if not targets:
        raise DataError.at(
            path,
            "has no column with a usual name for targets",
            allowed=shortened(columns, 20),
            remedy="choose it with `--targets COLUMN`",
        )
    inputs = _named(path, options.inputs, columns, "--inputs") or [name for name in columns if name not in targets]
    if shared := [name for name in inputs if name in targets]:
        raise DataError.at(
            path, "has a column that is both input and target", value=shared[0], remedy="remove it from one"
        )
    if not inputs:
        raise DataError.at(path, "has no columns other than the targets")
    return inputs, targets


def _named(path: Path, text: str | None, columns: Sequence[str], option: str) -> list[str]:
    # The name of a column may contain a comma.
    names = [] if text is None else [text] if text in columns else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in columns:
            raise DataError.at(
                path,
                "has no such column",
                value=name,
                allowed=shortened(columns, 20),
                remedy=f"correct `{option}`; {nearest(name, columns)}".rstrip("; "),
            )
    return names


def _task_of(values: NDArray[Any] | list[str]) -> str:
    """Infer the task: strings and integers in one column are classes, other numbers are values."""
    if isinstance(values, list):
        return "classification"
    return "classification" if values.shape[1] == 1 and bool((values == np.rint(values)).all()) else "regression"
