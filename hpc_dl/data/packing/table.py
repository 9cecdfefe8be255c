"""Tables as a source: columns of numbers are the inputs, one column or several the targets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.source import Source, Values, Wishes, number_classes
from hpc_dl.errors import DataError, nearest

_TARGET_NAMES = ("target", "targets", "label", "labels", "class", "y")


class Table(Source):
    """Rows of a table: inputs (N, columns) as float32, targets in memory.

    Args:
        path: the file.
        kind: for people.
        columns: names of the input columns.
        targets: names of the target columns, for faults.
        values: what the target columns hold: (N, K) numbers, or a list of one text for each row.
        wishes: what the user says.
        dtype: type of the inputs.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        columns: Sequence[str],
        targets: Sequence[str],
        values: NDArray[Any] | list[str],
        wishes: Wishes,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        where = f"{path}: column {', '.join(targets)}"
        if not len(values):
            raise DataError.at(path, "has no rows")
        task = wishes.task if wishes.task != "auto" else _task_of(values)
        names: tuple[str, ...] = ()
        if task == "classification":
            if not isinstance(values, list):
                if values.shape[1] > 1:
                    raise DataError.at(where, "are several columns of classes", remedy="name one by `--targets`")
                values = [f"{value:g}" for value in values[:, 0]]
            self._targets, names = number_classes(values, wishes.class_names, where)
        elif task == "segmentation" or isinstance(values, list):
            raise DataError.at(where, f"does not fit the task {task}", remedy="say `--task classification`")
        else:
            if len(bad := np.argwhere(~np.isfinite(values))):
                raise DataError.at(where, f"holds an infinite or missing target in row {bad[0, 0]}")
            self._targets = values.astype(np.float32).reshape(len(values), -1)
        super().__init__(
            path=path,
            kind=kind,
            inputs=Values((len(columns),), dtype or np.dtype(np.float32)),
            targets=Values(self._targets.shape[1:], self._targets.dtype),
            sizes={"train": len(self._targets)},
            divided=False,
            task=task,
            class_names=names,
            attributes={"description": f"columns: {', '.join(columns)}"},
            files=[path.absolute()],
        )
        if names:
            shown = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
            self.notes.append(f"{len(names)} classes, numbered in this order: {shown}")

    @abstractmethod
    def features(self, start: int) -> Iterator[NDArray[Any]]:
        """The inputs from row ``start`` on, in blocks."""

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        for values in self.features(start):
            yield Samples(values, self._targets[start : start + len(values)])
            start += len(values)

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._targets if self.task == "classification" else None


def choose_columns(path: Path, columns: Sequence[str], wishes: Wishes) -> tuple[list[str], list[str]]:
    """The columns of the inputs (all others, when not told) and of the targets.

    Raises:
        DataError: a column is not there, or it is not told which holds the targets.
    """
    targets = _named(path, wishes.targets, columns, "--targets")
    if not targets:
        targets = [name for name in columns if name.lower() in _TARGET_NAMES][:1]
    if not targets:
        raise DataError.at(
            path,
            "does not tell which column holds the targets",
            allowed=", ".join(columns[:20]) + (" …" if len(columns) > 20 else ""),
            remedy="name it by `--target COLUMN`",
        )
    inputs = _named(path, wishes.inputs, columns, "--inputs") or [name for name in columns if name not in targets]
    if shared := [name for name in inputs if name in targets]:
        raise DataError.at(path, "is an input and a target as well", value=shared[0], remedy="leave it out of one")
    if not inputs:
        raise DataError.at(path, "has no column besides the targets")
    return inputs, targets


def _named(path: Path, wish: str | None, columns: Sequence[str], option: str) -> list[str]:
    # A name may hold a comma itself.
    names = [] if wish is None else [wish] if wish in columns else [name.strip() for name in wish.split(",")]
    for name in names:
        if name not in columns:
            raise DataError.at(
                path,
                "has no such column",
                value=name,
                allowed=", ".join(columns[:20]) + (" …" if len(columns) > 20 else ""),
                remedy=f"correct `{option}`; {nearest(name, columns)}".rstrip("; "),
            )
    return names


def _task_of(values: NDArray[Any] | list[str]) -> str:
    """Texts are classes; so are whole numbers in one column; all else are values."""
    if isinstance(values, list):
        return "classification"
    return "classification" if values.shape[1] == 1 and bool((values == np.rint(values)).all()) else "regression"
