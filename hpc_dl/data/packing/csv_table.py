"""CSV tables as a source (also packed by gzip): plain Python, any size, every fault with row and
column.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.source import Source, Wishes
from hpc_dl.data.packing.table import Table, choose_columns
from hpc_dl.errors import DataError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_EXACT_IN_FLOAT32 = 1 << 24
# What other programs write for a value that is missing.
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


class CSVTable(Table):
    """A CSV table; read once to check every cell and for the targets, and again to store the
    inputs.
    """

    def __init__(self, path: Path, wishes: Wishes) -> None:
        self.path = path
        self._read_header()
        inputs, targets = choose_columns(path, self._columns, wishes)
        self._inputs = [self._columns.index(name) for name in inputs]
        chosen = [self._columns.index(name) for name in targets]
        values, rounded = self._check(chosen)
        super().__init__(path, "CSV table", inputs, targets, values, wishes)
        if rounded:
            self.notes.append(f"{rounded:,} values are above 2^24 and rounded to float32")

    def features(self, start: int) -> Iterator[NDArray[Any]]:
        """See :class:`Table`."""
        with self._open() as file:
            rows = itertools.islice(self._rows(file), start, None)
            while block := list(itertools.islice(rows, self.rows_per_block)):
                values = itertools.chain.from_iterable(self._numbers(row, line) for line, row in block)
                yield np.fromiter(values, np.float32, len(block) * len(self._inputs)).reshape(len(block), -1)

    def _check(self, targets: list[int]) -> tuple[NDArray[Any] | list[str], int]:
        """The targets of all rows, and the number of inputs that float32 rounds."""
        texts: list[str] = []
        rounded = 0
        with self._open() as file:
            for line, row in self._rows(file):
                for column in targets:
                    if row[column].strip().lower() in _MISSING:
                        raise self._fault(line, column, "is no target", row[column], "fill it, or delete the row")
                    texts.append(row[column].strip())
                numbers = self._numbers(row, line)
                rounded += sum(number > _EXACT_IN_FLOAT32 and number.is_integer() for number in map(abs, numbers))
        try:
            return np.array(texts, np.float64).reshape(-1, len(targets)), rounded
        except ValueError:
            if len(targets) == 1:
                return texts, rounded
            number = next(index for index, text in enumerate(texts) if not _is_number(text))
            row_number, column = divmod(number, len(targets))
            raise self._fault(
                row_number + 2, targets[column], "is no number", texts[number], "name other columns"
            ) from None

    def _numbers(self, row: list[str], line: int) -> list[float]:
        try:
            return [float(row[column]) for column in self._inputs]
        except ValueError:
            return [self._number(row[column], line, column) for column in self._inputs]

    def _number(self, text: str, line: int, column: int) -> float:
        if text.strip().lower() in _MISSING:
            return math.nan
        try:
            return float(text)
        except ValueError:
            raise self._fault(
                line, column, "is text in a column of numbers", text, "mend it, or name the input columns by `--inputs`"
            ) from None

    def _fault(self, line: int, column: int, problem: str, text: str, remedy: str) -> DataError:
        where = f"{self.path}: line {line}, column {self._columns[column]!r}"
        return DataError.at(where, problem, value=text, remedy=remedy)

    def _open(self) -> TextIO:
        opened = gzip.open if self.path.suffix == ".gz" else open
        return cast(TextIO, opened(self.path, "rt", encoding="utf-8-sig", newline=""))

    def _read_header(self) -> None:
        """Columns and delimiter; a first line of numbers only is a row, and the columns are
        numbered from 1.
        """
        try:
            with self._open() as file:
                line = file.readline()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise DataError.at(self.path, f"cannot be read: {error}") from None
        if not line.strip():
            raise DataError.at(self.path, "is empty")
        tab = ".tsv" in self.path.suffixes
        self._delimiter = "\t" if tab else max(",;\t", key=line.count)
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=self._delimiter))]
        self._has_header = not all(map(_is_number, cells))
        self._columns = cells if self._has_header else [str(number) for number in range(1, len(cells) + 1)]
        if twice := [name for name in self._columns if self._columns.count(name) > 1]:
            raise DataError.at(self.path, "has two columns of one name", value=twice[0], remedy="rename one")

    def _rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of each row that is not empty."""
        reader = csv.reader(file, delimiter=self._delimiter)
        try:
            for row in reader:
                if row and not (self._has_header and reader.line_num == 1):
                    if len(row) != len(self._columns):
                        raise DataError.at(
                            f"{self.path}: line {reader.line_num}",
                            f"has {len(row)} cells for {len(self._columns)} columns",
                            remedy="mend the line; a text with the delimiter in it needs quotes",
                        )
                    yield reader.line_num, row
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise DataError.at(f"{self.path}: line {reader.line_num}", f"cannot be read: {error}") from None


def open_csv(path: Path, wishes: Wishes) -> Source:
    """A CSV table as a source.

    Raises:
        DataError: a cell is no number, a line has too few of them, or a column is not there.
    """
    return CSVTable(path, wishes)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
