"""Tables of labels: one line for each file, in the columns ``file`` and ``label``."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hpc_dl.data.packing.column_choice import TARGET_NAMES
from hpc_dl.data.packing.delimiter import delimiter_of
from hpc_dl.data.packing.encodings import encoding_remedy
from hpc_dl.data.packing.table_columns import is_missing
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

# In the table a file may be named with or without these.
_SUFFIXES = (
    ".gz", ".nii", ".wav", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"
)  # fmt: skip
_FILE_NAMES = ("file", "filename", "file_name", "path", "filepath", "image", "volume", "recording", "name")


class _Line(NamedTuple):
    number: int
    name: str
    folders: tuple[str, ...]
    label: str


class LabelTable:
    """The labels of files, by their names; with folders where several files have one name.

    Args:
        path: a CSV or TSV file: columns of the usual names, or else the file and its label.

    Raises:
        DataError: the table cannot be read, or it is not clear which columns are meant.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, list[_Line]] = {}
        self._used: dict[int, Path] = {}  # the file of each line, by its number
        for line in _lines(path):
            self._lines.setdefault(stem_of(Path(line.name)), []).append(line)

    def label_of(self, file: Path) -> str:
        """Return the label of a file.

        Raises:
            DataError: it has none, or more than one; or its line may also mean another file.
        """
        lines = self._lines.get(stem_of(file), [])
        if len(lines) > 1:
            fits = [(line.name == file.name, _common(line.folders, file.parent.parts)) for line in lines]
            lines = [line for line, fit in zip(lines, fits, strict=True) if fit == max(fits)]
        if len({line.label for line in lines}) > 1:
            raise DataError.at(
                f"{self.path}: line {lines[1].number}",
                "has another label for the same file",
                value=lines[1].label,
                allowed=f"{lines[0].label}, as in line {lines[0].number}",
                remedy="remove one line, or name files with their folders",
            )
        if not lines or is_missing(lines[0].label):
            raise DataError.at(
                file,
                f"has no label in {self.path}",
                value=lines[0].label if lines else None,
                remedy="add a line for it, or remove the file",
            )
        for line in lines:
            if (other := self._used.setdefault(line.number, file)) != file:
                raise DataError.at(
                    f"{self.path}: line {line.number}",
                    "matches two files",
                    value=f"{other}, {file}",
                    remedy="name files with their folders",
                )
        return lines[0].label

    def notes(self) -> list[str]:
        """Say which lines no file belongs to, after all files have been looked up."""
        unused = [line.name for lines in self._lines.values() for line in lines if line.number not in self._used]
        return [f"{len(unused):,} lines of {self.path.name} match no file: {shortened(unused, 5)}"] if unused else []


def is_table(name: str | None) -> bool:
    """Whether ``--targets`` names a table."""
    return name is not None and name.lower().endswith((".csv", ".tsv"))


def stem_of(file: Path) -> str:
    """Return the name of a file without suffix, and without nnU-Net's suffix for a channel."""
    name = file.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name.removesuffix("_0000")


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of all lines that are not empty, with the number of each line.

    Raises:
        DataError: the table cannot be read, or is empty.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            start = [line for line in (file.readline(1 << 20) for _ in range(10)) if line.strip()]
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter_of(start, path))
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        remedy = encoding_remedy(path) if isinstance(error, UnicodeDecodeError) else "check the file"
        raise DataError.at(path, f"cannot be read: {error}", remedy=remedy) from None
    if not rows:
        raise DataError.at(path, "is empty", allowed="lines with a label")
    return rows


def _lines(path: Path) -> Iterator[_Line]:
    rows = read_rows(path)
    header = [cell.lower() for cell in rows[0][1]]
    files = [header.index(name) for name in _FILE_NAMES if name in header]
    labels = [header.index(name) for name in TARGET_NAMES if name in header]
    columns = (files[0], labels[0]) if files and labels else (0, 1)
    if len(header) > 2 and not (files and labels):
        raise DataError.at(
            path,
            f"has {len(header)} columns, and it is unclear which are the file and the label",
            value=shortened(rows[0][1]),
            allowed="two columns, or a first line with the names file and label",
            remedy="name the columns in the first line",
        )
    # A first line with other names has no suffix, as the files below it have.
    if (files and labels) or (not Path(header[0]).suffix and any(Path(row[0]).suffix for _, row in rows[1:2])):
        rows = rows[1:]
    for number, row in rows:
        if len(row) <= max(columns):
            raise DataError.at(f"{path}: line {number}", "has no label", allowed="the file, then the label")
        name = Path(row[columns[0]].replace("\\", "/"))
        yield _Line(number, name.name, name.parent.parts, row[columns[1]])


def _common(folders: tuple[str, ...], parents: tuple[str, ...]) -> int:
    """Return how many folders right above a file are the same."""
    pairs = list(zip(reversed(folders), reversed(parents), strict=False))
    return next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))
