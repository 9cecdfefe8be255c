"""Reading data frames from R's ``.rda`` files and lazy-load databases, without R.

Supports serialization formats 2 and 3 in XDR, as in the manual R Internals, 1.8 (R Core Team), and
only the items of a data frame: lists, numbers, strings, factors and their attributes. All other
items, such as code, are refused; nothing is executed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.errors import DataError

_NIL, _NIL_VALUE, _EMPTY_ENVIRONMENT = 0, 254, 242
_SYMBOL, _PAIRLIST, _CHARS, _LOGICALS, _INTEGERS, _REALS, _STRINGS, _LIST, _REFERENCE = 1, 2, 9, 10, 13, 14, 16, 19, 255
_HAS_ATTRIBUTES, _HAS_TAG = 1 << 9, 1 << 10
_NA = -(2**31)
_DECOMPRESS = {b"\x1f\x8b": gzip.decompress, b"BZ": bz2.decompress, b"\xfd7": lzma.decompress}


@dataclass
class Vector:
    """A vector of R.

    Attributes:
        values: an array of numbers, or a list of strings or vectors.
        attributes: such as ``names`` and ``levels``, by name.
    """

    values: Any
    attributes: dict[str, Vector] = field(default_factory=dict)


def read_rdata(path: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Read the data frames of an ``.rda`` file.

    Args:
        path: the file, compressed or not.

    Returns:
        For each data frame its columns by name. Factors become strings. A missing value is NaN, or
        the empty string.

    Raises:
        DataError: the file is damaged, or contains anything other than data frames.
    """
    try:
        content = path.read_bytes()
        content = _DECOMPRESS.get(content[:2], bytes)(content)
        if content[:7] not in (b"RDX2\nX\n", b"RDX3\nX\n"):
            raise ValueError("it does not start with the header of R's XDR format")
        frames = _Parser(content[7:]).frames()
    except (OSError, EOFError, lzma.LZMAError, ValueError, IndexError, KeyError) as error:
        raise DataError.at(path, f"cannot be read: {error}", remedy="fetch it again") from None
    return {name: _columns(frame) for name, frame in frames.items()}


def read_lazy_frame(path: Path, column: str) -> dict[str, NDArray[Any]]:
    """Read a data frame out of an environment in the database of a package's lazily loaded data.

    Args:
        path: ``Rdata.rdb`` in the package's folder ``data``: compressed entries, one after another.
        column: name of a column that no other data frame in the database has.

    Returns:
        Its columns by name.

    Raises:
        DataError: the file is damaged, or has no such data frame.
    """
    try:
        for entry in _entries(path.read_bytes()):
            if b"bindings" in entry and column.encode() in entry:
                bindings = _Parser(entry[2:]).item().values[0]
                return next(frame for frame in map(_columns, bindings.values) if column in frame)
    except (OSError, zlib.error, ValueError, IndexError, KeyError, StopIteration) as error:
        raise DataError.at(path, f"cannot be read: {error}", remedy="fetch it again") from None
    raise DataError.at(path, f"has no data frame with the column {column}", remedy="fetch it again")


def _entries(content: bytes) -> Iterator[bytes]:
    """Decompress the entries: the size of each, 4 bytes, then its zlib stream."""
    while content:
        stream = zlib.decompressobj()
        yield stream.decompress(content[4:])
        if not stream.eof:
            raise ValueError("it ends too early")
        content = stream.unused_data


class _Parser:
    """A reader of serialized items; it keeps the symbols, to which later items refer by number."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0
        self._symbols: list[str] = []

    def frames(self) -> dict[str, Vector]:
        """Read the saved objects by name."""
        self._header()
        return self._pairs(self._integer())

    def item(self) -> Vector:
        """Read a single object."""
        self._header()
        return self._vector()

    def _header(self) -> None:
        version, _, _ = (self._integer() for _ in range(3))
        if version == 3:
            self._bytes(self._integer())  # skip the name of the strings' encoding

    def _pairs(self, flags: int) -> dict[str, Vector]:
        """Read a list of items, each with a tag."""
        pairs: dict[str, Vector] = {}
        while flags & 0xFF == _PAIRLIST:
            if flags & _HAS_ATTRIBUTES or not flags & _HAS_TAG:
                raise ValueError("it contains a list without names")
            tag = self._symbol(self._integer())
            pairs[tag] = self._vector()
            flags = self._integer()
        if flags & 0xFF not in (_NIL, _NIL_VALUE):
            raise ValueError(f"it contains an item of type {flags & 0xFF} where a list is expected")
        return pairs

    def _symbol(self, flags: int) -> str:
        if flags & 0xFF == _REFERENCE:
            return self._symbols[(flags >> 8 or self._integer()) - 1]
        if flags & 0xFF != _SYMBOL:
            raise ValueError(f"it contains an item of type {flags & 0xFF} where a name is expected")
        self._symbols.append(self._chars())
        return self._symbols[-1]

    def _vector(self) -> Vector:
        flags = self._integer()
        kind = flags & 0xFF
        if kind in (_NIL, _NIL_VALUE, _EMPTY_ENVIRONMENT):
            return Vector([])
        if kind not in (_LOGICALS, _INTEGERS, _REALS, _STRINGS, _LIST):
            raise ValueError(f"it contains an item of type {kind}, which is not part of a data frame")
        length = self._integer()
        values: Any
        if kind == _STRINGS:
            values = [self._chars() for _ in range(length)]
        elif kind == _LIST:
            values = [self._vector() for _ in range(length)]
        else:
            width = 8 if kind == _REALS else 4
            values = np.frombuffer(self._bytes(width * length), ">f8" if kind == _REALS else ">i4")
        return Vector(values, self._pairs(self._integer()) if flags & _HAS_ATTRIBUTES else {})

    def _chars(self) -> str:
        if (kind := self._integer() & 0xFF) != _CHARS:
            raise ValueError(f"it contains an item of type {kind} where a string is expected")
        length = self._integer()
        return "" if length == -1 else self._bytes(length).decode("utf-8", errors="replace")

    def _integer(self) -> int:
        return int.from_bytes(self._bytes(4), "big", signed=True)

    def _bytes(self, length: int) -> bytes:
        if length < 0 or self._position + length > len(self._content):
            raise ValueError("it ends too early")
        self._position += length
        return self._content[self._position - length : self._position]


def _columns(frame: Vector) -> dict[str, NDArray[Any]]:
    return {name: _column(vector) for name, vector in zip(frame.attributes["names"].values, frame.values, strict=True)}


def _column(vector: Vector) -> NDArray[Any]:
    values = np.asarray(vector.values)
    if "levels" in vector.attributes:  # a factor: numbers of its levels, starting at 1
        names = np.array(["", *vector.attributes["levels"].values])
        return names[np.where(values == _NA, 0, values)]
    if values.dtype == np.dtype(">i4"):
        return np.where(values == _NA, np.nan, values).astype(np.float64)
    return values.astype(np.float64) if values.dtype == np.dtype(">f8") else values
