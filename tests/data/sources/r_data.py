"""Writes the serialization format of R, as far as a data frame needs it."""

import zlib

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


def data_frame() -> bytes:
    """A data frame with a factor ``level`` and a column of numbers ``size``."""
    factor = integers(13 | _HAS_ATTRIBUTES, 3, 2, 1, _NA)
    factor += integers(2 | _HAS_TAG) + symbol("levels") + strings("low", "high") + integers(_NIL)
    numbers = integers(14, 3) + np.array([1.5, np.nan, -2], ">f8").tobytes()
    names = integers(2 | _HAS_TAG) + symbol("names") + strings("level", "size") + integers(_NIL)
    return integers(19 | _HAS_ATTRIBUTES, 2) + factor + numbers + names


def data_frame_file() -> bytes:
    """``save(f)`` of the data frame ``f``."""
    return b"RDX2\nX\n" + integers(2, 0, 0) + integers(2 | _HAS_TAG) + symbol("f") + data_frame() + integers(_NIL)


def lazy_database() -> bytes:
    """The database of a package with a string, and an environment that holds the data frame."""
    version = b"X\n" + integers(3, 0, 0, 5) + b"UTF-8"
    bindings = integers(19 | _HAS_ATTRIBUTES, 1) + data_frame()
    bindings += integers(2 | _HAS_TAG) + symbol("names") + strings("data") + integers(_NIL)
    enclosing = integers(242)
    environment = integers(19 | _HAS_ATTRIBUTES, 2) + bindings + enclosing
    # ``names`` as a reference to the third symbol of the entry.
    environment += integers(2 | _HAS_TAG) + integers(3 << 8 | 255) + strings("bindings", "enclos") + integers(_NIL)
    entries = (version + strings("size"), version + environment)
    return b"".join(len(entry).to_bytes(4, "big") + zlib.compress(entry) for entry in entries)
