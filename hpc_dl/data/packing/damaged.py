"""What the readers of other packages raise for damaged files."""

from __future__ import annotations

import struct
import zipfile
import zlib

#: Each reader has several: they were found by files that were changed at random.
DAMAGED: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError, RuntimeError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

#: Deflate shrinks nothing by more than 1032 times: what a file declares beyond that is not in it.
MAX_RATIO = 1040
