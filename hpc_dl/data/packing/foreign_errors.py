"""Errors that other libraries raise for damaged input, as one line about the source."""

from __future__ import annotations

import csv
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hpc_dl
from hpc_dl.errors import DataError, HpcDlError

_OWN_CODE = str(Path(hpc_dl.__file__).parent)
# What C functions raise, which leave no frame of their own in a traceback.
_OF_C_FUNCTIONS = (OSError, EOFError, UnicodeError, MemoryError, OverflowError, csv.Error, struct.error)


@contextmanager
def as_faults(path: Path) -> Iterator[None]:
    """Turn errors of the libraries that read a source into one line; our own defects are kept.

    Which exceptions a library raises for a damaged file is documented by none of them.

    Raises:
        DataError: a library cannot read the source.
    """
    try:
        yield
    except HpcDlError:
        raise
    except Exception as error:
        if not _is_foreign(error):
            raise
        problem = " ".join(str(error).split()) or "without a reason"
        raise DataError.at(
            path,
            f"cannot be read: {type(error).__name__}: {problem:.300}",
            remedy="check whether the program that wrote it can read it, or copy it again",
        ) from error


def _is_foreign(error: Exception) -> bool:
    if isinstance(error, _OF_C_FUNCTIONS) or type(error).__module__ != "builtins":
        return True
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and not frames[-1].filename.startswith(_OWN_CODE)
