"""CSV tables as a source, also compressed by gzip.

Tables of any size are read by plain Python, so that every message names the line and the column.
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

from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.packing.table import Table, choose_columns
from hpc_dl.errors import DataError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_EXACT_IN_FLOAT32 = 1 << 24
# How other programs write a missing value.
_MISSING = {"", "na", "n/a", "nan", "null", "none"}


class CSVTable(Table):
    """A CSV table, read once to check all cells and get the targets, and again for the inputs."""

    def __init__(self, path: Path, options: PackOptions) -> None:
        self.path = path
        self._read_header()
        inputs, targets = choose_columns(path, self._columns, options)
        self._inputs = [self._columns.index(name) for name in inputs]
        values, num_rounded = self._check([self._columns.index(name) for name in targets])
        super().__init__(path, "CSV table", inputs, targets, values, options)
        if num_rounded:
            self.notes.append(f"{num_rounded:,} values are above 2^24 and are rounded to float32")

    def features(self, start: int) -> Iterator[NDArray[Any]]:
        """See :class:`Table`."""
        with self._open() as file:
            rows = itertools.islice(self._rows(file), start, None)
            while block := list(itertools.islice(rows, self.rows_per_block)):
                values = itertools.chain.from_iterable(self._numbers(row, line) for line, row in block)
                yield np.fromiter(values, np.float32, len(block) * len(self._inputs)).reshape(len(block), -1)

    def _check(self, targets: list[int]) -> tuple[NDArray[Any] | list[str], int]:
        """Return the targets of all rows, and the number of inputs that float32 rounds."""
        texts: list[str] = []
        num_rounded = 0
        with self._open() as file:
            for line, row in self._rows(file):
                for column in targets:
                    if row[column].strip().lower() in _MISSING:
                        raise self._fault(
                            line, column, "is a missing target", row[column], "fill it in, or delete the row"
                        )
                    texts.append(row[column].strip())
                numbers = self._numbers(row, line)
                num_rounded += sum(number > _EXACT_IN_FLOAT32 and number.is_integer() for number in map(abs, numbers))
        try:
            return np.array(texts, np.float64).reshape(-1, len(targets)), num_rounded
        except ValueError:
            if len(targets) == 1:
                return texts, num_rounded
            number = next(index for index, text in enumerate(texts) if not _is_number(text))
            row_number, column = divmod(number, len(targets))
            raise self._fault(
                row_number + 2,
                targets[column],
                "is not a number",
                texts[number],
                "choose other columns with `--targets`",
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
                line, column, "is not a number", text, "correct it, or choose the input columns with `--inputs`"
            ) from None

    def _fault(self, line: int, column: int, problem: str, text: str, remedy: str) -> DataError:
        where = f"{self.path}: line {line}, column {self._columns[column]!r}"
        return DataError.at(where, problem, value=text, remedy=remedy)

    def _open(self) -> TextIO:
        opened = gzip.open if self.path.suffix == ".gz" else open
        return cast(TextIO, opened(self.path, "rt", encoding="utf-8-sig", newline=""))

    def _read_header(self) -> None:
        """Read the delimiter and the column names.

        If the first line has numbers only, there is no header and the columns are numbered from 1.
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
        if duplicates := [name for name in self._columns if self._columns.count(name) > 1]:
            raise DataError.at(
                self.path, "has two columns with the same name", value=duplicates[0], remedy="rename one"
            )

    def _rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the cells of each row that is not empty."""
        reader = csv.reader(file, delimiter=self._delimiter)
        try:
            for row in reader:
                if row and not (self._has_header and reader.line_num == 1):
                    if len(row) != len(self._columns):
                        raise DataError.at(
                            f"{self.path}: line {reader.line_num}",
                            f"has {len(row)} cells for {len(self._columns)} columns",
                            remedy="correct the line; a cell that contains the delimiter needs quotes",
                        )
                    yield reader.line_num, row
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise DataError.at(f"{self.path}: line {reader.line_num}", f"cannot be read: {error}") from None


def open_csv(path: Path, options: PackOptions) -> Source:
    """Open a CSV table.

    Raises:
        DataError: a cell is not a number, a line has the wrong number of cells, or a column is
            missing.
    """
    return CSVTable(path, options)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMAT = Format(".csv .tsv (also .gz)", lambda place: place.is_file(*SUFFIXES), open_csv)
