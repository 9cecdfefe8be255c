"""Writes the serialization format of R, as far as a data frame needs it."""

import numpy as np

_HAS_ATTRIBUTES, _HAS_TAG = 1 << 9, 1 << 10
_NA, _NIL = -(2**31), 254


def integers(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)


def chars(text: str) -> bytes:
    return integers(9, len(text)) + text.encode()


def symbol(text: str) -> bytes:
    return integers(1) + chars(text)


def strings(*texts: str) -> bytes:
    return integers(16, len(texts)) + b"".join(map(chars, texts))


def data_frame_file() -> bytes:
    """``save(f)`` of a data frame with a factor ``level`` and a column of numbers ``size``."""
    factor = integers(13 | _HAS_ATTRIBUTES, 3, 2, 1, _NA)
    factor += integers(2 | _HAS_TAG) + symbol("levels") + strings("low", "high") + integers(_NIL)
    numbers = integers(14, 3) + np.array([1.5, np.nan, -2], ">f8").tobytes()
    names = integers(2 | _HAS_TAG) + symbol("names") + strings("level", "size") + integers(_NIL)
    table = integers(19 | _HAS_ATTRIBUTES, 2) + factor + numbers + names
    return b"RDX2\nX\n" + integers(2, 0, 0) + integers(2 | _HAS_TAG) + symbol("f") + table + integers(_NIL)
