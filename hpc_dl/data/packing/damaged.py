"""What the readers of other packages raise for damaged files."""

from __future__ import annotations

import csv
import struct
import traceback
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hpc_dl
from hpc_dl.errors import DataError, HpcDlError

_PACKAGE = Path(hpc_dl.__file__).parent

#: Each reader has several: they were found by files that were changed at random.
DAMAGED: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, TypeError, LookupError, AttributeError, ArithmeticError, SyntaxError, RuntimeError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

#: Deflate shrinks nothing by more than 1032 times: what a file declares beyond that is not in it.
MAX_RATIO = 1040


# What C functions raise, which leave no frame of their own in a traceback.
_OF_C_FUNCTIONS = (OSError, EOFError, UnicodeError, MemoryError, OverflowError, csv.Error, struct.error)


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Report what other packages raise while they read a source.

    What is raised by code of hpc_dl itself is a defect, and keeps its traceback. Which exceptions a
    package raises for a damaged file is documented by none of them.

    Raises:
        DataError: a package could not read the source.
    """
    try:
        yield
    except HpcDlError:
        raise
    except Exception as error:
        if not _is_foreign(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError.at(
            path, f"is damaged or cannot be read: {reason:.300}", remedy="copy the data again, or create them again"
        ) from None


def _is_foreign(error: Exception) -> bool:
    if isinstance(error, _OF_C_FUNCTIONS) or type(error).__module__ != "builtins":
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and not Path(frames[-1].filename).is_relative_to(_PACKAGE)
