"""Parquet tables as a source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.packing.table import Table, choose_columns
from hpc_dl.errors import DataError


class ParquetTable(Table):
    """A Parquet table; the target columns are kept in memory, the inputs are read in blocks."""

    def __init__(self, path: Path, options: PackOptions) -> None:
        self._pyarrow = require("pyarrow", "pyarrow", str(path))
        self._file = self._open(path)
        schema = self._file.schema_arrow
        inputs, targets = choose_columns(path, schema.names, options)
        for name in inputs:
            self._check_numeric(path, schema.field(name))
        types = {schema.field(name).type.to_pandas_dtype() for name in inputs}
        dtype = np.dtype(np.uint8) if types == {np.uint8} else np.dtype(np.float32)
        values = self._values(path, targets, schema)
        super().__init__(path, "Parquet table", inputs, targets, values, options, dtype)
        self._inputs = inputs

    def features(self, start: int) -> Iterator[NDArray[Any]]:
        """See :class:`Table`."""
        # Skip the row groups before the start, and the rows before it in the first group read.
        metadata = self._file.metadata
        first_group = first_row = 0
        while first_group < metadata.num_row_groups and first_row + metadata.row_group(first_group).num_rows <= start:
            first_row += metadata.row_group(first_group).num_rows
            first_group += 1
        groups = list(range(first_group, metadata.num_row_groups))
        skip = start - first_row
        # A separate reader, because two iterations over one file would share its position.
        with self._open(self.path) as file:
            for batch in file.iter_batches(self.rows_per_block, row_groups=groups, columns=self._inputs):
                if skip >= len(batch):
                    skip -= len(batch)
                    continue
                values = np.empty((len(batch), len(self._inputs)), self.inputs.dtype)
                for column, name in enumerate(self._inputs):
                    values[:, column] = self._filled(batch.column(name))
                yield values[skip:]
                skip = 0

    def close(self) -> None:
        """See :class:`Source`."""
        self._file.close()

    def _filled(self, column: Any) -> NDArray[Any]:
        """Return the numbers of a column, with NaN for missing values."""
        if column.null_count and self.inputs.dtype.kind != "f":
            raise DataError.at(f"{self.path}: uint8 columns", "have missing values", remedy="fill them in first")
        if column.null_count:
            column = column.cast("float64").fill_null(float("nan"))
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _values(self, path: Path, targets: list[str], schema: Any) -> NDArray[Any] | list[str]:
        table = self._file.read(targets)
        for name in targets:
            if missing := table.column(name).null_count:
                raise DataError.at(
                    f"{path}: column {name!r}", f"has {missing} missing targets", remedy="delete these rows first"
                )
        if len(targets) == 1 and not _is_numeric(self._pyarrow, schema.field(targets[0]).type):
            return [str(value) for value in table.column(0).to_pylist()]
        for name in targets:
            self._check_numeric(path, schema.field(name))
        return np.stack([table.column(name).to_numpy().astype(np.float64) for name in targets], axis=1)

    def _check_numeric(self, path: Path, field: Any) -> None:
        if not _is_numeric(self._pyarrow, field.type):
            raise DataError.at(
                f"{path}: column {field.name!r}",
                "does not contain numbers",
                value=str(field.type),
                remedy="choose the columns with `--inputs` and `--targets`",
            )

    def _open(self, path: Path) -> Any:
        parquet = require("pyarrow.parquet", "pyarrow", str(path))
        try:
            return parquet.ParquetFile(path)
        except (OSError, self._pyarrow.ArrowException) as error:
            raise DataError.at(path, f"cannot be read as a Parquet file: {error}") from None


def open_parquet(path: Path, options: PackOptions) -> Source:
    """Open a Parquet table.

    Raises:
        DataError: the file cannot be read, or a column is missing or does not contain numbers.
    """
    return ParquetTable(path, options)


def _is_numeric(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


FORMAT = Format(".parquet .pq", lambda place: place.is_file(".parquet", ".pq"), open_parquet)
