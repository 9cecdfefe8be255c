"""Tables with one row for each run: ``hpc-dl status`` and ``hpc-dl results``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.formatting import text_of

if TYPE_CHECKING:
    from hpc_dl.errors import HpcDlError

Row = dict[str, Any]
"""Values by column; a run without a value has None or no entry."""

Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="COLUMN", help="Sort by a column: metrics best first, all others ascending."),
]
_MOST_SETTINGS = 6  # columns; more differ between different experiments


def columns_of_settings(settings: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the settings in which runs differ: those to show, and further ones.

    Args:
        settings: those of each run.
    """
    from hpc_dl.runs.settings import differing

    keys = differing(settings)
    return keys[:_MOST_SETTINGS], keys[_MOST_SETTINGS:]


def matching(rows: Sequence[Row], where: Sequence[str] | None, since: str | None) -> list[int]:
    """Return the numbers of the rows that ``--where`` and ``--since`` admit.

    Args:
        rows: all rows, with all that is known of each run.
        where: conditions, all of which must hold.
        since: a date or an age.

    Raises:
        HpcDlError: a condition is none, or no row has its column.
    """
    from hpc_dl.runs.conditions import Condition, is_since, time_of_since

    conditions = [Condition.parse(text) for text in where or ()]
    known = {key for row in rows for key in row} if conditions else set()
    for condition in conditions:
        if rows and condition.column not in known:
            raise unknown_column("--where", condition.column, known)
    earliest = time_of_since(since) if since else None
    return [
        number
        for number, row in enumerate(rows)
        if (earliest is None or is_since(row.get("submitted"), earliest))
        and all(condition.holds(row) for condition in conditions)
    ]


def sort_order(rows: Sequence[Row], column: str | None) -> list[int]:
    """Return the row numbers in the order of a column: numbers, texts, then rows without a value.

    Args:
        rows: the rows.
        column: its name; ``None`` keeps the order.

    Raises:
        HpcDlError: no row has such a column.
    """
    from hpc_dl.learning.direction import direction_of_name
    from hpc_dl.runs.conditions import is_number

    if column is None or not rows:
        return list(range(len(rows)))
    known: set[str] = {key for row in rows for key in row}
    if column not in known:
        raise unknown_column("--sort", column, known)
    best_last = direction_of_name(column) == "max"
    numbers: dict[int, float] = {}
    texts: dict[int, str] = {}
    for position, row in enumerate(rows):
        value = row.get(column)
        if isinstance(value, int | float) and is_number(value):
            numbers[position] = -value if best_last else value
        elif value is not None and value == value:  # not NaN
            texts[position] = str(value)
    order = [*sorted(numbers, key=numbers.__getitem__), *sorted(texts, key=texts.__getitem__)]
    return order + [position for position in range(len(rows)) if position not in numbers and position not in texts]


def unknown_column(option: str, column: str, known: set[str]) -> HpcDlError:
    """Return the error for a column that no row has.

    Args:
        option: that names it.
        column: its name.
        known: the columns that exist.
    """
    from hpc_dl.errors import HpcDlError, nearest
    from hpc_dl.formatting import shortened
    from hpc_dl.learning.metric_names import split_of

    remedy = nearest(column, known)
    if split_of(column) == "test" and column not in known:
        remedy = "choose runs by validation; --test of `hpc-dl results` adds the test metrics"
    settings = {key for key in known if "." in key}
    allowed = shortened([*sorted(known - settings), *sorted(settings)], 15)
    return HpcDlError.at(option, "no such column", value=column, allowed=allowed, remedy=remedy)


def print_runs(columns: list[str], rows: Sequence[Row], remarks: str = "", hidden: Sequence[str] = ()) -> None:
    """Print the rows; no name is broken. Notes, and remarks that do not fit, come below the table.

    Args:
        columns: the columns to show; the empty ones among them are left out.
        rows: the rows.
        remarks: the column with remarks, if there is one.
        hidden: settings that differ, too, but are not shown.
    """
    from hpc_dl.cli.output import fits, show, table
    from hpc_dl.formatting import shortened

    columns = [column for column in columns if any(text_of(row.get(column)) for row in rows)]
    remarks = remarks if any(row.get(remarks) for row in rows) else ""
    with_remarks = [*columns, remarks] if remarks else columns
    cells = [[text_of(row.get(column)) for column in with_remarks] for row in rows]
    below = bool(remarks) and not fits(with_remarks, cells)
    if below:
        table(columns, [row[:-1] for row in cells], unbroken=True)
    else:
        table(with_remarks, cells, unbroken=True)
    below_the_table = [remarks, "note"] if below else ["note"]
    lines = [f"{row['run']}: {row[key]}" for key in below_the_table for row in rows if row.get(key)]
    for line in ["", *lines] if lines else ():
        show(line)
    if hidden:
        show(f"\n{len(hidden)} more settings differ: {shortened(hidden, 8)}")
