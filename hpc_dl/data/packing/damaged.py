"""What the readers of other packages raise for damaged files."""

from __future__ import annotations

import struct
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hpc_dl
from hpc_dl.errors import DataError

_PACKAGE = Path(hpc_dl.__file__).parent

#: Each reader has several: they were found by files that were changed at random.
DAMAGED: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError, RuntimeError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

#: Deflate shrinks nothing by more than 1032 times: what a file declares beyond that is not in it.
MAX_RATIO = 1040


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Report what other packages raise while they read a source.

    What is raised by code of hpc_dl itself is a defect, and keeps its traceback.

    Raises:
        DataError: a package could not read the source.
    """
    try:
        yield
    except DAMAGED as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename
        if Path(innermost).is_relative_to(_PACKAGE):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError.at(
            path, f"is damaged or cannot be read: {reason}", remedy="copy the data again, or create them again"
        ) from None
