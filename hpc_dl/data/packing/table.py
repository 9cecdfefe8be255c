"""Tables as a source: inputs are columns of numbers or categories, targets other columns."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.classes import class_notes, number_classes
from hpc_dl.data.packing.column_choice import choose_columns, index_columns, named_columns
from hpc_dl.data.packing.known_columns import known_columns
from hpc_dl.data.packing.number_texts import other_notation, text_of
from hpc_dl.data.packing.source import PackOptions, Source, Values
from hpc_dl.data.packing.table_columns import Cells, InputColumn, is_missing, parsed
from hpc_dl.errors import DataError, Fault
from hpc_dl.formatting import shortened

_STATISTICS = ("mean", "median", "most_frequent")


class Rows(NamedTuple):
    """Some rows of a table.

    Attributes:
        numbers: number of each row, as a message names it.
        cells: the cells of each column that was asked for.
    """

    numbers: Sequence[int]
    cells: Mapping[str, Cells]


class Table(Source):
    """A table with inputs (N, columns), as float32 unless all are bytes, and targets in memory.

    It is read once to check all cells, and again for the inputs. A subclass opens the file before
    it calls this constructor.

    Args:
        path: the file.
        kind: name of the format.
        columns: names of all columns.
        options: how to read the table.
    """

    row_name = "row"  #: what a message calls a row

    def __init__(self, path: Path, kind: str, columns: Sequence[str], options: PackOptions) -> None:
        self.path = path
        inputs, self._target_names = choose_columns(path, columns, options)
        self._left_out = sorted({*index_columns(columns)} - {*inputs, *self._target_names})
        categorical = named_columns(path, options.categorical, columns, "--categorical")
        self._columns: Sequence[InputColumn] = known_columns(options) or [
            InputColumn(name, options, is_category=name in categorical) for name in inputs
        ]
        self._options = options
        self._kept: NDArray[np.intp] | None = None  # the rows that are packed; None for all of them
        self._groups: NDArray[Any] | None = None
        values, num_rows = self._scan(options.group)
        if self._target_names:
            task, names = self._choose_targets(values, options)
        else:  # rows to predict
            task, names, self._targets = "", (), np.empty((num_rows, 0), np.uint8)
        dtype = self.input_type(inputs)
        super().__init__(
            path=path,
            kind=kind,
            inputs=Values((sum(len(column.names) for column in self._columns),), dtype),
            targets=Values(self._targets.shape[1:], self._targets.dtype) if self._target_names else None,
            sizes={"train": len(self._targets)},
            has_splits=False,
            task=task,
            class_names=names,
            attributes={"description": f"columns: {shortened(inputs, 100)}"},
            files=[path.absolute()],
        )
        self._describe(num_rows)

    @abstractmethod
    def rows(self, columns: Sequence[str], start: int) -> Iterator[Rows]:
        """Yield some columns of all rows from number ``start``, in blocks."""

    def input_type(self, names: Sequence[str]) -> np.dtype[Any]:
        """Return the type of the packed inputs."""
        return np.dtype(np.float32)

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        first = start if self._kept is None else int(self._kept[start])
        names = [column.name for column in self._columns]
        for rows in self.rows(names, first):
            values = np.empty((len(rows.numbers), *self.inputs.shape), self.inputs.dtype)
            end = 0
            for column in self._columns:
                begin, end = end, end + len(column.names)
                column.encode(rows.cells[column.name], values[:, begin:end])
            if self._kept is not None:
                kept = self._kept[start : start + len(values)]
                values = values[kept[kept < first + len(values)] - first]
            first += len(rows.numbers)
            if len(values):
                yield Samples(values, self._targets[start : start + len(values)])
            start += len(values)

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._targets if self.task == "classification" else None

    def groups(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return self._groups

    def fit(self, is_training: NDArray[np.bool_]) -> None:
        """See :class:`Source`; replaces missing values as the options say."""
        columns = [column for column in self._columns if column.num_missing]
        if self._options.missing in _STATISTICS and columns:
            cells: dict[str, list[Cells]] = {column.name: [] for column in columns}
            first = 0
            for rows in self.rows(list(cells), 0):
                chosen = np.flatnonzero(is_training[first : first + len(rows.numbers)])
                first += len(rows.numbers)
                for name, part in rows.cells.items():
                    cells[name].append(_chosen(part, chosen))
            for column in columns:
                column.fit(cells[column.name])
            filled = {column.name: column.filled for column in columns}
            self.input_attributes["filled"] = json.dumps(filled)
            self.notes.append(f"missing values are replaced, by statistics of the training split: {json.dumps(filled)}")

    def _scan(self, group: str | None) -> tuple[dict[str, list[Cells]], int]:
        """Look at all cells; return those of the targets, and the number of rows in the file."""
        inputs = [column.name for column in self._columns]
        others = [*self._target_names, *([group] if group else [])]
        cells: dict[str, list[Cells]] = {name: [] for name in others}
        is_kept: list[NDArray[np.bool_]] = []
        missing_target: Fault | None = None
        drop = self._options.missing == "drop"
        for rows in self.rows(list(dict.fromkeys([*inputs, *others])), 0):
            is_dropped = np.zeros(len(rows.numbers), bool)
            for column in self._columns:
                is_dropped |= column.scan(rows.cells[column.name], rows.numbers)
            for name in cells:
                part = rows.cells[name]
                absent = (
                    np.isnan(part) if isinstance(part, np.ndarray) else np.array([is_missing(cell) for cell in part])
                )
                if absent.any() and not missing_target:
                    number = rows.numbers[int(absent.argmax())]
                    missing_target = Fault(
                        f"{self.path}: {self.row_name} {number}, column {name!r}",
                        "is a missing target" if name in self._target_names else "is a missing group",
                        value=part[int(absent.argmax())],
                        remedy="fill it in" if self._options.trained_on else "fill it in, or use `--missing drop`",
                    )
                is_dropped |= absent
                cells[name].append(part)
            is_kept.append(~is_dropped)
        num_rows = sum(map(len, is_kept))
        if not num_rows:
            raise DataError.at(self.path, "has no rows")
        if missing_target and not drop:
            raise DataError(missing_target)
        faults = [column.conclude(str(self.path), self.row_name, num_rows) for column in self._columns]
        incomplete = [column for column in self._columns if column.num_missing]
        if self._options.missing == "refuse" and incomplete:
            faults.append(
                Fault(
                    str(self.path),
                    f"has missing values: {_counts(incomplete)}",
                    remedy="use `--missing drop`, `mean`, `median`, `most_frequent` or `keep`; with "
                    "`--missing-indicator` a column marks them",
                )
            )
        if found := [fault for fault in faults if fault]:
            raise DataError(*found)
        if drop and not all(map(np.all, is_kept)):
            kept = np.concatenate(is_kept)
            self._kept = np.flatnonzero(kept)
            if not len(self._kept):
                raise DataError.at(self.path, "has a missing value in every row", remedy="use `--missing mean`")
            cells = {
                name: [_chosen(part, np.flatnonzero(keep)) for part, keep in zip(parts, is_kept, strict=True)]
                for name, parts in cells.items()
            }
        if group:
            self._groups = np.array([str(cell).strip() for part in cells[group] for cell in part])
        return cells, num_rows

    def _choose_targets(self, cells: dict[str, list[Cells]], options: PackOptions) -> tuple[str, tuple[str, ...]]:
        """Set the targets; return the task and the names of the classes."""
        where = f"{self.path}: column {', '.join(self._target_names)}"
        numbers: list[NDArray[Any]] = []
        texts: dict[str, str] = {}
        for name in self._target_names:
            parts = [parsed(part) for part in cells[name]]
            numbers.append(np.concatenate([part for part, _ in parts]).astype(np.float64))
            if others := [text for _, texts_of_rows in parts for text in texts_of_rows.values()]:
                texts[name] = others[0]
                if options.task != "classification" and (notation := other_notation(others)):
                    remedy = f"{notation[1]}; or `--task classification` if they are classes"
                    raise DataError.at(f"{self.path}: column {name!r}", notation[0], value=others[0], remedy=remedy)
        values = np.stack(numbers, axis=1)
        task = options.task
        if task == "auto":
            task = "classification" if texts or _are_classes(values) else "regression"
        if task == "classification" and len(self._target_names) > 1 and not texts:
            raise DataError.at(where, "are several columns of classes", remedy="choose one with `--targets`")
        if texts and (len(self._target_names) > 1 or task != "classification"):
            name = next(iter(texts))
            raise DataError.at(
                f"{self.path}: column {name!r}",
                "is not a number" if task != "segmentation" else f"does not fit the task {task}",
                value=texts[name],
                remedy="choose other columns with `--targets`, or use `--task classification`",
            )
        if task == "segmentation":
            raise DataError.at(where, f"does not fit the task {task}", remedy="use `--task classification`")
        if task == "classification":
            found = [cell for part in cells[self._target_names[0]] for cell in part]
            labels = [str(cell).strip() for cell in found] if texts else list(map(text_of, found))
            self._targets, names = number_classes(labels, options.class_names, where)
            return task, names
        if len(invalid := np.argwhere(~np.isfinite(values))):
            raise DataError.at(where, f"has an infinite or missing target in row {invalid[0, 0]}")
        self._targets = values.astype(np.float32)
        return task, ()

    def _describe(self, num_rows: int) -> None:
        """Add notes and attributes on how the table was read."""
        self.input_attributes["columns"] = tuple(name for column in self._columns for name in column.names)
        categories = {column.name: list(column.categories) for column in self._columns if column.is_category}
        if self._left_out:
            names = shortened([repr(name) for name in self._left_out])
            self.notes.append(f"columns without a name or that number the rows are left out: {names}")
        if categories:
            self.input_attributes["categories"] = json.dumps(categories, ensure_ascii=False)
            how = "one column each (one-hot)" if self._options.categories == "onehot" else "their numbers"
            described = "; ".join(f"{name}: {shortened(texts)}" for name, texts in categories.items())
            self.notes.append(f"columns of text become categories, {how}: {described}")
        if self.class_names:
            self.notes += class_notes(self.class_names)
        incomplete = [column for column in self._columns if column.num_missing]
        if incomplete and self._options.missing == "keep":
            self.notes.append(
                f"missing values: {_counts(incomplete)}; numbers stay NaN, which `data.imputation` fills in when "
                "training begins, and texts are a category of their own; instead: `--missing drop`, `mean`, `median`, "
                "`most_frequent`"
            )
        if self._kept is not None:
            self.notes.append(f"{num_rows - len(self._kept):,} of {num_rows:,} rows with missing values are left out")
        if num_rounded := sum(column.num_rounded for column in self._columns):
            self.notes.append(f"{num_rounded:,} values are above 2^24 and are rounded to float32")


def _chosen(cells: Cells, rows: NDArray[np.intp]) -> Cells:
    return cells[rows] if isinstance(cells, np.ndarray) else [cells[row] for row in rows.tolist()]


def _counts(columns: Sequence[InputColumn]) -> str:
    return shortened([f"{column.name} {column.num_missing:,}" for column in columns], 20)


def _are_classes(values: NDArray[Any]) -> bool:
    """Whether one column has whole numbers only; other numbers are values."""
    return values.shape[1] == 1 and bool((values == np.rint(values)).all())
