"""Columns of a table as inputs: numbers, or texts that become categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.classes import is_whole, too_many
from hpc_dl.data.packing.number_texts import number_of, other_notation, text_of
from hpc_dl.data.packing.source import PackOptions
from hpc_dl.errors import Fault
from hpc_dl.formatting import shortened

#: Cells of one column: numbers with NaN for missing ones, or texts as in the file.
Cells = NDArray[Any] | Sequence[str | None]

# How other programs write a missing value.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
MISSING_CATEGORY = "missing"
_EXACT_IN_FLOAT32 = 1 << 24
_MOST_CATEGORIES = 10_000


def is_missing(cell: str | None) -> bool:
    """Whether a cell stands for a missing value: empty, ``NA``, ``n/a``, ``null``, …"""
    return cell is None or cell.strip().lower() in _MISSING


def parsed(cells: Cells) -> tuple[NDArray[Any], dict[int, str]]:
    """Return the numbers of all cells, with NaN for others, and the other texts, by row."""
    if isinstance(cells, np.ndarray):
        return cells, {}
    try:
        joined = "".join(cells)  # type: ignore[arg-type]  # faster than number_of each cell
        if "_" not in joined and joined.isascii():
            return np.fromiter(map(float, cells), np.float64, len(cells)), {}  # type: ignore[arg-type]
    except (ValueError, TypeError):
        pass
    numbers, texts = np.full(len(cells), np.nan), {}
    for row, cell in enumerate(cells):
        if cell is None or is_missing(cell):
            continue
        try:
            numbers[row] = number_of(cell)
        except ValueError:
            texts[row] = cell.strip()
    return numbers, texts


def _texts(cells: Cells) -> list[str | None]:
    if isinstance(cells, np.ndarray):
        return [None if np.isnan(value) else text_of(value) for value in cells]
    return [None if cell is None or is_missing(cell) else cell.strip() for cell in cells]


@dataclass
class InputColumn:
    """One column of the inputs; it is scanned once, and then encoded.

    Attributes:
        name: of the column.
        options: how to read the table.
        is_category: whether its cells are texts; numbers are, too, on request.
        num_missing: number of missing values.
        num_rounded: number of whole numbers that float32 rounds.
        categories: the texts, sorted, for a column of categories.
        filled: the number or category that missing values are replaced with; None to keep them.
    """

    name: str
    options: PackOptions
    is_category: bool = False
    num_missing: int = 0
    num_rounded: int = 0
    categories: tuple[str, ...] = ()
    filled: float | str | None = None
    _num_numbers: int = 0
    _first_text: tuple[int, str] | None = None
    _found: set[str] = field(default_factory=set)

    def scan(self, cells: Cells, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Look at the cells of the next rows; return which of them are missing.

        Args:
            cells: the cells.
            rows: number of each row, as a message names it.
        """
        if self.is_category:
            texts = _texts(cells)
            missing = np.array([text is None for text in texts])
            self._found.update(text for text in texts if text is not None)
        else:
            numbers, others = parsed(cells)
            missing = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(len(numbers), bool)
            missing[list(others)] = False
            self._num_numbers += int(len(numbers) - missing.sum()) - len(others)
            if others:
                first = min(others)
                self._first_text = self._first_text or (rows[first], others[first])
                self._found.update(others.values())
            large = (
                np.abs(numbers[~missing].astype(np.result_type(numbers, np.float32), copy=False)) > _EXACT_IN_FLOAT32
            )
            self.num_rounded += int((large & is_whole(numbers[~missing])).sum())
        self.num_missing += int(missing.sum())
        return missing

    def conclude(self, where: str, row_name: str, num_rows: int) -> Fault | None:
        """Decide what the column is, after all rows were scanned; return why it cannot be packed.

        Args:
            where: the file.
            row_name: what the file calls a row: ``line``.
            num_rows: number of all rows.
        """
        place = f"{where}: column {self.name!r}"
        if self._first_text and (found := other_notation(self._found)):
            problem, remedy = found
            remedy += f"; or leave it out with `--omit {self.name}`, or use `--categorical {self.name}` for categories"
            return Fault(place, problem, value=self._first_text[1], remedy=remedy)
        if self._first_text and self._num_numbers and not self.is_category:
            row, text = self._first_text
            return Fault(
                f"{where}: {row_name} {row}, column {self.name!r}",
                "is not a number",
                value=text,
                remedy=f"correct it, choose the input columns with `--inputs`, or read the column as categories with "
                f"`--categorical {self.name}`",
            )
        self.is_category = self.is_category or self._first_text is not None
        if not self.is_category:
            return None
        if len(self._found) > _MOST_CATEGORIES or too_many(len(self._found), num_rows):
            return Fault(
                place,
                f"has {len(self._found)} different texts in {num_rows} rows, too many for categories",
                value=shortened(sorted(self._found), 3),
                remedy=f"leave it out with `--omit {self.name}`, or keep its rows in one split with "
                f"`--group {self.name}`",
            )
        self.categories = tuple(sorted(self._found))
        if self.num_missing and self.options.missing == "keep":
            self.categories = (*self.categories, MISSING_CATEGORY)
            self.filled = MISSING_CATEGORY
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of the packed inputs that it becomes."""
        one_hot = self.is_category and self.options.categories == "onehot"
        names = tuple(f"{self.name}={text}" for text in self.categories) if one_hot else (self.name,)
        return (*names, f"{self.name} is missing") if self.is_marked else names

    @property
    def is_marked(self) -> bool:
        """Whether a column that marks missing values follows it."""
        return self.options.indicator and self.num_missing > 0

    def fit(self, cells: Sequence[Cells]) -> None:
        """Compute what missing values are replaced with, from cells of the training split."""
        if self.is_category:
            counts = Counter(text for part in cells for text in _texts(part) if text is not None)
            self.filled = min(counts, key=lambda text: (-counts[text], text), default=self.categories[0])
            return
        values = np.concatenate([parsed(part)[0] for part in cells])
        values = values[np.isfinite(values)]
        if not len(values):
            self.filled = 0.0
        elif self.options.missing == "mean":
            self.filled = float(values.mean())
        elif self.options.missing == "median":
            self.filled = float(np.median(values))
        else:
            distinct, counts_of = np.unique(values, return_counts=True)
            self.filled = float(distinct[counts_of.argmax()])

    def encode(self, cells: Cells, out: NDArray[Any]) -> None:
        """Write the values of some rows.

        Args:
            cells: the cells of n rows.
            out: (n, number of ``names``) receives the values.
        """
        if self.is_category:
            texts = _texts(cells)
            missing = np.array([text is None for text in texts])
            number = {text: index for index, text in enumerate(self.categories)}
            # Rows that are left out also have a code.
            filled = 0 if self.filled is None else number[str(self.filled)]
            codes = np.array([filled if text is None else number[text] for text in texts])
            if self.options.categories == "onehot":
                out[:, : len(self.categories)] = codes[:, None] == np.arange(len(self.categories))
            else:
                out[:, 0] = codes
        else:
            numbers, _ = parsed(cells)
            missing = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(len(numbers), bool)
            out[:, 0] = numbers if self.filled is None else np.where(missing, self.filled, numbers)
        if self.is_marked:
            out[:, -1] = missing
