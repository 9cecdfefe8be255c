"""Tables for other programs: CSV on stdout, and Parquet files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc_dl.cli.run_table import Row
from hpc_dl.formatting import text_of


def check_new_file(path: Path) -> None:
    """Check that a file can be created, before the work is done.

    Raises:
        HpcDlError: it exists already, or its folder does not.
    """
    from hpc_dl.errors import HpcDlError

    if path.exists():
        raise HpcDlError.at(path, "exists already", remedy="choose another file")
    if not path.absolute().parent.is_dir():
        raise HpcDlError.at(path, "its folder does not exist", remedy="create it, or choose another file")


def print_csv(columns: list[str], rows: Sequence[Row]) -> None:
    """Print the rows as CSV with a header; numbers in full precision, lists with ``;``.

    Args:
        columns: the columns.
        rows: the rows.
    """
    from hpc_dl.cli.output import show

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    show(text.getvalue().removesuffix("\n"))


def write_parquet(path: Path, columns: list[str], rows: Sequence[Row]) -> None:
    """Write the rows to a new Parquet file; a column of several types becomes one of texts.

    Args:
        path: the file.
        columns: the columns.
        rows: the rows.

    Raises:
        DataError: pyarrow is not installed.
    """
    from hpc_dl.atomic_files import publish
    from hpc_dl.cli.output import say
    from hpc_dl.data.packing.source import require

    pyarrow, parquet = (require(name, "pyarrow", "--parquet") for name in ("pyarrow", "pyarrow.parquet"))
    arrays = {column: pyarrow.array(_of_one_type([row.get(column) for row in rows])) for column in columns}
    draft = path.with_name(f".{path.name}.tmp")
    try:
        parquet.write_table(pyarrow.table(arrays), draft)
        publish(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    say(f"Wrote {len(rows)} rows to {path}.")


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return repr(value)
    return "; ".join(map(text_of, value)) if isinstance(value, list) else text_of(value)


def _of_one_type(values: list[Any]) -> list[Any]:
    types = {type(value) for value in values if value is not None}
    if types <= {int, float}:
        return [value if value is None else float(value) for value in values] if float in types else values
    if len(types) == 1 and types <= {bool, str}:
        return values
    return [None if value is None else _cell(value) for value in values]
