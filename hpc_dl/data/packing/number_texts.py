"""Numbers that are written as texts: one rule for the cells, labels and headers of all tables."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import numpy as np

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
# 1.000,5 and 1 000 and 1_000 and 5% and $5, but also dates such as 24.12.2024.
_OTHER_NOTATION = re.compile(r"[+-]?[$€£¥]?[.,]?\d+(?:[.,'_\s]\d+)*\s?[%€$£]?")


def number_of(text: str) -> float:
    """Return the number that a text stands for.

    Python also reads ``1_000`` and digits of other scripts; other programs do not, so these are
    texts.

    Raises:
        ValueError: the text is not a number.
    """
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def other_notation(texts: Collection[str]) -> tuple[str, str] | None:
    """Return problem and remedy, if the texts of a column are numbers in another notation."""
    if any(map(_DECIMAL_COMMA.fullmatch, texts)):
        remedy = "write numbers with a point: `pandas.read_csv(FILE, sep=';', decimal=',').to_csv('NEW.csv')`"
        return "has decimal commas", remedy
    if texts and all(map(_OTHER_NOTATION.fullmatch, texts)):
        return "has numbers in another notation", "write plain numbers, such as 1234.5"
    return None


def text_of(number: Any) -> str:
    """Return the shortest text of a number that is unique among its type: ``3`` for 3.0."""
    if isinstance(number, str):
        try:
            return str(int(number))  # exact, beyond 2^53
        except ValueError:
            number = number_of(number)
    if isinstance(number, float | np.floating):
        return np.format_float_positional(number, trim="-")
    return str(int(number))
