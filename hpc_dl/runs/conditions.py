"""Conditions on a column of a table of runs: ``optimizer.lr>1e-3``, ``state=failed``, since 2 days.

A condition is data: it is split into column, operator and value, and never executed.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import HpcDlError

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==|=|<|>)\s*([^<>=].*|)", re.DOTALL)
_AGE = re.compile(r"(\d{1,6})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


@dataclass(frozen=True)
class Condition:
    """A condition on one column.

    Attributes:
        column: the name of a setting, of a metric, or of a fact such as ``state``.
        operator: one of ``= == != < <= > >=``.
        value: what to compare with: a number, a text, true, false or null.
        text: the value as the user typed it.
    """

    column: str
    operator: str
    value: Any
    text: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition as the user types it.

        Raises:
            HpcDlError: the text is not a condition.
        """
        match = _CONDITION.fullmatch(text)
        value = yaml.loads(match[3], f"--where {text}") if match else {}
        if match is None or isinstance(value, dict | list):
            raise HpcDlError.at(
                "--where", "is not a condition", value=text, allowed=f"COLUMN {' '.join(_OPERATORS)} VALUE",
                remedy="for example --where 'optimizer.lr>1e-3'",
            )  # fmt: skip
        return cls(match[1], match[2], value, match[3].strip())

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a run fulfills it; one without a value fulfills only ``!=``.

        A list, such as the tags of a run, equals each of its elements.

        Args:
            row: the run's values by column.
        """
        actual = row.get(self.column)
        compare = _OPERATORS[self.operator]
        if compare is operator.ne:
            return not replace(self, operator="=").holds(row)
        if isinstance(actual, list) and compare is operator.eq:
            return any(compare(*self._sides(element)) for element in actual)
        left, right = self._sides(actual)
        if compare is operator.eq:
            return compare(left, right)
        return type(left) is type(right) and isinstance(left, float | str) and compare(left, right)

    def _sides(self, actual: Any) -> tuple[Any, Any]:
        """Both sides as numbers where both are; else as texts where the column has a text."""
        number, other = _number(actual), _number(self.value)
        if number is not None and other is not None:
            return number, other
        if isinstance(actual, str):  # the tag 1.10 is not the number 1.1, and YAML reads dates
            return actual, self.value if isinstance(self.value, str) else self.text
        return actual, self.value


def time_of_since(text: str, now: datetime | None = None) -> datetime:
    """Return the earliest time that ``--since`` admits.

    Args:
        text: a date (``2026-01-31``), a date with a time, or an age: ``12h``, ``3d``, ``2w``.
        now: the current time.

    Raises:
        HpcDlError: it is none of these.
    """
    now = now or datetime.now().astimezone()
    try:
        if match := _AGE.fullmatch(text):
            return now - timedelta(hours=int(match[1]) * _HOURS[match[2]])
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise HpcDlError.at(
            "--since", "is neither a date nor an age", value=text, allowed="2026-01-31, 12h, 3d, 2w"
        ) from None


def is_since(submitted: Any, since: datetime) -> bool:
    """Whether a run was submitted at that time or later; false where its time is not known.

    Args:
        submitted: as ``hpc_dl.cluster.status`` reports it, in ISO 8601.
        since: the earliest time.
    """
    try:
        return datetime.fromisoformat(submitted).astimezone() >= since
    except (TypeError, ValueError):
        return False


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(value) if value in ("nan", "inf", "-inf") else None


def is_number(value: Any) -> bool:
    """Whether a value of a column is a number that can be ranked and averaged."""
    number = _number(value)
    return number is not None and not math.isnan(number)
