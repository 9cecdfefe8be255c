"""The character between the cells of a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

# The comma is the last: in a table with semicolons it separates decimals.
_DELIMITERS = "\t;|,"


def delimiter_of(lines: Sequence[str], path: Path) -> str:
    """Return the delimiter that gives each of the first lines the same number of cells.

    Args:
        lines: the first lines of the table.
        path: of the table; with ``.tsv`` a tab is enough in the first line.
    """
    first = lines[0] if lines else ""
    if ".tsv" in path.suffixes and "\t" in first:
        return "\t"
    for delimiter in filter(first.__contains__, _DELIMITERS):
        widths = {len(row) for row in csv.reader(lines, delimiter=delimiter)}
        if len(widths) == 1 and max(widths) > 1:
            return delimiter
    return max(reversed(_DELIMITERS), key=first.count)
