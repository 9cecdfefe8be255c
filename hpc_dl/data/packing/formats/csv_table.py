"""CSV tables as a source, also compressed by gzip.

Tables of any size are read by plain Python, so that every message names the line and the column.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from hpc_dl.data.packing.delimiter import delimiter_of
from hpc_dl.data.packing.encodings import encoding_remedy
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.number_texts import number_of
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.packing.table import Rows, Table
from hpc_dl.errors import DataError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_ROWS_TOGETHER = 4096
_FIRST_LINES = 10
_CELLS_TOGETHER = 1 << 20
# A line that never ends must not fill the memory.
_MAX_LINE = 64 << 20
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)


class CSVTable(Table):
    """A CSV table."""

    row_name = "line"

    def __init__(self, path: Path, options: PackOptions) -> None:
        self.path = path
        self._read_header()
        super().__init__(path, "CSV table", self._names, options)

    def rows(self, columns: Sequence[str], start: int) -> Iterator[Rows]:
        """See :class:`Table`."""
        index = {name: number for number, name in enumerate(self._names)}
        numbers = [index[name] for name in columns]
        num_together = max(1, min(_ROWS_TOGETHER, _CELLS_TOGETHER // len(self._names)))
        with self._open() as file:
            rows = itertools.islice(self._rows(file), start, None)
            while block := list(itertools.islice(rows, num_together)):
                cells = {name: [row[number] for _, row in block] for name, number in zip(columns, numbers, strict=True)}
                yield Rows([line for line, _ in block], cells)

    def _open(self) -> TextIO:
        opened = gzip.open if self.path.suffix.lower() == ".gz" else open
        return cast(TextIO, opened(self.path, "rt", encoding="utf-8-sig", newline=""))

    def _read_header(self) -> None:
        """Read the delimiter and the column names.

        If the first line has numbers only, there is no header and the columns are numbered from 1.
        """
        try:
            with self._open() as file:
                start = list(itertools.islice(self._lines(file), _FIRST_LINES))
            self._skipped = 1 if start and start[0].startswith("sep=") else 0  # written for Excel
            self._delimiter = delimiter_of([line for line in start[self._skipped :] if line.strip()], self.path)
            with self._open() as file:
                reader = self._reader(file)
                cells = [cell.strip() for cell in next(filter(None, reader), [])]
        except _UNREADABLE as error:
            raise DataError.at(self.path, f"cannot be read: {error}", remedy=self._remedy(error)) from None
        if not cells:
            raise DataError.at(self.path, "is empty")
        if len(cells) == 1:
            raise DataError.at(
                self.path,
                "has one column only",
                value=cells[0],
                allowed="cells separated by commas, semicolons, tabs or |",
                remedy="separate the cells, and remove lines of comments above the names",
            )
        self._header_lines = 0 if all(map(_is_number, cells)) else reader.line_num
        self._names = cells if self._header_lines else [str(number) for number in range(1, len(cells) + 1)]

    def _reader(self, file: TextIO) -> Any:
        return csv.reader(itertools.islice(self._lines(file), self._skipped, None), delimiter=self._delimiter)

    def _lines(self, file: TextIO) -> Iterator[str]:
        for number in itertools.count(1):
            line = file.readline(_MAX_LINE)
            if "\0" in line:
                raise DataError.at(
                    f"{self.path}: line {number}",
                    "contains a null character, so it is not text",
                    remedy="save the table as CSV in UTF-8, or copy it again",
                )
            if len(line) == _MAX_LINE:
                raise DataError.at(
                    f"{self.path}: line {number}", f"is longer than {_MAX_LINE >> 20} MiB", remedy="check the file"
                )
            if not line:
                return
            yield line

    def _rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield the line number and the cells of each row that is not empty."""
        reader = self._reader(file)
        try:
            for row in reader:
                if row and reader.line_num > self._header_lines:
                    if len(row) != len(self._names):
                        raise DataError.at(
                            f"{self.path}: line {self._skipped + reader.line_num}",
                            f"has {len(row)} cells for {len(self._names)} columns",
                            remedy="correct the line; a cell that contains the delimiter needs quotes",
                        )
                    yield self._skipped + reader.line_num, row
        except _UNREADABLE as error:
            raise DataError.at(
                f"{self.path}: line {self._skipped + reader.line_num}",
                f"cannot be read: {error}",
                remedy=self._remedy(error),
            ) from None

    def _remedy(self, error: Exception) -> str:
        return encoding_remedy(self.path) if isinstance(error, UnicodeDecodeError) else "copy or save it again"


def open_csv(path: Path, options: PackOptions) -> Source:
    """Open a CSV table.

    Raises:
        DataError: a column has numbers and texts, a line has the wrong number of cells, or a column
            is missing.
    """
    return CSVTable(path, options)


def _is_number(text: str) -> bool:
    try:
        number_of(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True


FORMAT = Format(".csv .tsv (also .gz)", lambda place: place.is_file(*SUFFIXES), open_csv)
