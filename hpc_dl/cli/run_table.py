"""Tables with one row for each run: ``hpc-dl status`` and ``hpc-dl results``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hpc_dl.runs.folder import RunFolder

Row = dict[str, Any]
"""Values by column; a run without a value has None or no entry."""

Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="COLUMN", help="Sort by a column: metrics best first, all others ascending."),
]
_MOST_SETTINGS = 6  # columns; more differ between different experiments


def add_settings(rows: Sequence[Row], runs: Sequence[RunFolder]) -> tuple[list[str], list[str]]:
    """Add the settings in which the runs differ to their rows.

    Args:
        rows: one for each run.
        runs: the runs.

    Returns:
        The keys of the settings to show, and those of further settings, which are too many.
    """
    from hpc_dl.runs.settings import differing_settings

    settings = differing_settings(runs)
    for number, row in enumerate(rows):
        row |= {key: values[number] for key, values in settings.items()}
    keys = list(settings)
    return keys[:_MOST_SETTINGS], keys[_MOST_SETTINGS:]


def sort_order(rows: Sequence[Row], column: str | None) -> list[int]:
    """Return the numbers of the rows in the order of a column; rows without a value come last.

    Args:
        rows: the rows.
        column: its name; ``None`` keeps the order.

    Raises:
        HpcDlError: no row has such a column.
    """
    from hpc_dl.errors import HpcDlError, nearest
    from hpc_dl.learning.direction import direction_of_name

    if column is None or not rows:
        return list(range(len(rows)))
    known = list(dict.fromkeys(key for row in rows for key in row))
    if column not in known:
        raise HpcDlError.at(
            "--sort", "no such column", value=column, allowed=", ".join(known), remedy=nearest(column, known)
        )
    values = [row.get(column) for row in rows]
    present = [number for number, value in enumerate(values) if value is not None]
    numeric = all(isinstance(values[number], int | float) for number in present)
    present.sort(
        key=lambda number: values[number] if numeric else str(values[number]),  # type: ignore[arg-type, return-value]
        reverse=numeric and "/" in column and direction_of_name(column) == "max",
    )
    return present + [number for number, value in enumerate(values) if value is None]


def print_runs(columns: list[str], rows: Sequence[Row], remarks: str = "", hidden: Sequence[str] = ()) -> None:
    """Print the rows; no name is broken, and remarks that do not fit come below the table.

    Args:
        columns: the columns to show.
        rows: the rows.
        remarks: the column with remarks, if there is one.
        hidden: settings that differ, too, but are not shown.
    """
    from hpc_dl.cli.output import fits, show, table
    from hpc_dl.formatting import shortened

    with_remarks = [*columns, remarks] if remarks else columns
    cells = [[_text(row.get(column)) for column in with_remarks] for row in rows]
    below = bool(remarks) and not fits(with_remarks, cells)
    if below:
        table(columns, [row[:-1] for row in cells], unbroken=True)
    else:
        table(with_remarks, cells, unbroken=True)
    if below and any(row.get(remarks) for row in rows):
        show()
        for row in rows:
            if row.get(remarks):
                show(f"{row['run']}: {row[remarks]}")
    if hidden:
        show(f"\n{len(hidden)} more settings differ: {shortened(hidden, 8)}")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
