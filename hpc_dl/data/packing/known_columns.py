"""Columns of a table to predict, encoded as those of the table that a model was trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpc_dl.data.packing.source import PackOptions
from hpc_dl.data.packing.table_columns import MISSING_CATEGORY, InputColumn
from hpc_dl.errors import Fault
from hpc_dl.formatting import shortened

_MARK = " is missing"


@dataclass
class KnownColumn(InputColumn):
    """A column whose categories and replacement for missing values are those of the training.

    Attributes:
        marked: whether a column that marks missing values follows it.
    """

    marked: bool = False

    @property
    def is_marked(self) -> bool:
        """See :class:`InputColumn`."""
        return self.marked

    def conclude(self, where: str, row_name: str, num_rows: int) -> Fault | None:
        """See :class:`InputColumn`; nothing new is learned from the rows."""
        place = f"{where}: column {self.name!r}"
        if not self.is_category:
            if self._first_text is None:
                return None
            row, text = self._first_text
            place = f"{where}: {row_name} {row}, column {self.name!r}"
            return Fault(place, "is not a number, as in the training", value=text, remedy="correct it")
        if unknown := sorted(self._found - set(self.categories)):
            return Fault(
                place, "has a category that did not occur in the training", value=unknown[0],
                allowed=shortened(self.categories), remedy="correct it, or leave such rows out",
            )  # fmt: skip
        if self.num_missing and self.filled is None:
            return Fault(place, "has missing values, and had none in the training", remedy="fill them in")
        return None


def known_columns(options: PackOptions) -> Sequence[KnownColumn]:
    """Return the columns that the training's file names; empty if it names none."""
    if options.trained_on is None:
        return []
    attributes = options.trained_on.attributes
    names: Sequence[str] = attributes.get("columns") or ()
    categories = json.loads(attributes.get("categories") or "{}")
    filled = json.loads(attributes.get("filled") or "{}")
    one_hot = {f"{column}={text}": column for column, texts in categories.items() for text in texts}
    options = replace(options, categories="onehot" if any(name in one_hot for name in names) else "numbers")
    columns: dict[str, KnownColumn] = {}
    for packed in names:
        if packed.endswith(_MARK) and packed.removesuffix(_MARK) in columns:
            columns[packed.removesuffix(_MARK)].marked = True
            continue
        name = one_hot.get(packed, packed)
        texts = tuple(categories.get(name, ()))
        replacement = filled.get(name, MISSING_CATEGORY if MISSING_CATEGORY in texts else None)
        columns.setdefault(
            name, KnownColumn(name, options, is_category=bool(texts), categories=texts, filled=replacement)
        )
    return list(columns.values())
