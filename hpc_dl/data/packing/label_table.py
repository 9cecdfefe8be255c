"""Tables of labels: the file in the first column, the label in the second."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from hpc_dl.errors import DataError

# In the table a file may be named with or without these.
_SUFFIXES = (".gz", ".nii", ".wav", ".png", ".jpg", ".jpeg", ".tif", ".tiff")


def is_table(name: str | None) -> bool:
    """Whether ``--targets`` names a table."""
    return name is not None and name.lower().endswith((".csv", ".tsv"))


def read_labels(table: Path) -> dict[str, str]:
    """Return the label of each file, by its name without suffix.

    Raises:
        DataError: the table cannot be read, or a line has no label.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if table.suffix == ".tsv" else ",") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError.at(table, f"cannot be read: {error}") from None
    if incomplete := [number for number, row in enumerate(rows, 1) if len(row) < 2]:
        raise DataError.at(table, f"has no label in line {incomplete[0]}", allowed="the file, then the label")
    return {stem_of(Path(row[0])): row[1].strip() for row in rows}


def label_of(file: Path, labels: Mapping[str, str], table: Path | None) -> str:
    """Return the label of a file.

    Raises:
        DataError: it has none.
    """
    if not labels.get(stem_of(file)):
        raise DataError.at(file, f"has no label in {table}", remedy="add a line for it, or remove the volume")
    return labels[stem_of(file)]


def stem_of(file: Path) -> str:
    """Return the name of a file without suffix, and without nnU-Net's suffix for a channel."""
    name = file.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name.removesuffix("_0000")
