"""Parquet tables as a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.column_choice import choose_columns
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.packing.table import Rows, Table
from hpc_dl.data.packing.table_columns import Cells
from hpc_dl.data.storage.available_memory import available_bytes
from hpc_dl.errors import DataError

_ROWS_TOGETHER = 65_536
_CELLS_TOGETHER = 1 << 20


class ParquetTable(Table):
    """A Parquet table; the target columns are kept in memory, the inputs are read in blocks."""

    def __init__(self, path: Path, options: PackOptions) -> None:
        self.path = path
        self._pyarrow = require("pyarrow", "pyarrow", str(path))
        self._file = self._open()
        self._schema = self._file.schema_arrow
        inputs, targets = choose_columns(path, self._schema.names, options)
        for name in [*inputs, *targets]:
            self._check_type(name)
        num_rows = self._file.metadata.num_rows
        if num_rows * 8 * len(targets) > available_bytes() / 2:
            raise DataError.at(path, f"claims {num_rows:,} rows, whose targets exceed the memory", remedy="divide it")
        if options.missing != "drop":
            self._check_targets(targets)
        super().__init__(path, "Parquet table", self._schema.names, options)

    def input_type(self, names: Sequence[str]) -> np.dtype[Any]:
        """See :class:`Table`."""
        types = {str(self._schema.field(name).type) for name in names}
        is_complete = not any(column.num_missing or column.is_category for column in self._columns)
        return np.dtype(np.uint8 if types == {"uint8"} and is_complete else np.float32)

    def rows(self, columns: Sequence[str], start: int) -> Iterator[Rows]:
        """See :class:`Table`."""
        # Skip the row groups before the start, and the rows before it in the first group read.
        metadata = self._file.metadata
        first_group = first_row = 0
        while first_group < metadata.num_row_groups and first_row + metadata.row_group(first_group).num_rows <= start:
            first_row += metadata.row_group(first_group).num_rows
            first_group += 1
        groups = list(range(first_group, metadata.num_row_groups))
        skip = start - first_row
        num_together = max(1, min(_ROWS_TOGETHER, _CELLS_TOGETHER // len(columns)))
        # A separate reader, because two iterations over one file would share its position.
        with self._open() as file:
            try:
                for batch in file.iter_batches(num_together, row_groups=groups, columns=list(columns)):
                    if skip >= len(batch):
                        skip -= len(batch)
                        continue
                    part = batch.slice(skip)
                    yield Rows(
                        range(start, start + len(part)), {name: self._cells(part.column(name)) for name in columns}
                    )
                    start += len(part)
                    skip = 0
            except (OSError, ValueError, self._pyarrow.ArrowException) as error:
                raise DataError.at(self.path, f"cannot be read: {error}", remedy="copy or save it again") from None

    def close(self) -> None:
        """See :class:`Source`."""
        self._file.close()

    def _cells(self, column: Any) -> Cells:
        """Return the numbers of a column, with NaN for missing values, or its texts."""
        types = self._pyarrow.types
        if not _is_numeric(self._pyarrow, column.type):
            return [None if text is None else str(text) for text in column.to_pylist()]
        if column.null_count or not (types.is_integer(column.type) or types.is_floating(column.type)):
            column = column.cast("float64").fill_null(float("nan"))
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values

    def _check_targets(self, targets: list[str]) -> None:
        num_missing = dict.fromkeys(targets, 0)
        for rows in self._file.iter_batches(_ROWS_TOGETHER, columns=targets):
            for name in targets:
                num_missing[name] += rows.column(name).null_count
        for name, num in num_missing.items():
            if num:
                raise DataError.at(
                    f"{self.path}: column {name!r}",
                    f"has {num} missing targets",
                    remedy="fill them in, or leave such rows out with `--missing drop`",
                )

    def _check_type(self, name: str) -> None:
        kind, types = self._schema.field(name).type, self._pyarrow.types
        value = kind.value_type if types.is_dictionary(kind) else kind
        if not (_is_numeric(self._pyarrow, kind) or types.is_string(value) or types.is_large_string(value)):
            raise DataError.at(
                f"{self.path}: column {name!r}",
                "does not contain numbers",
                value=str(kind),
                allowed="numbers, bool, texts",
                remedy=f"leave it out with `--omit {name}`, or choose others with `--inputs` and `--targets`",
            )

    def _open(self) -> Any:
        parquet = require("pyarrow.parquet", "pyarrow", str(self.path))
        try:
            return parquet.ParquetFile(self.path)
        except (OSError, ValueError, self._pyarrow.ArrowException) as error:
            raise DataError.at(self.path, f"cannot be read as a Parquet file: {error}") from None


def open_parquet(path: Path, options: PackOptions) -> Source:
    """Open a Parquet table.

    Raises:
        DataError: the file cannot be read, or a column is missing or has neither numbers nor texts.
    """
    return ParquetTable(path, options)


def _is_numeric(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


FORMAT = Format(".parquet .pq", lambda place: place.is_file(".parquet", ".pq"), open_parquet)
