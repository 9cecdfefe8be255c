"""Data sets that are made for real."""

import os
from pathlib import Path

import pytest

from hpc_dl.data import sources
from hpc_dl.errors import DataError


def ensure_or_skip(name: str, folder: Path) -> Path:
    """The file of a data set; where it must be fetched and cannot be, the test is left out, but not
    in CI."""
    try:
        return sources.ensure(name, folder)
    except DataError as error:
        if os.environ.get("CI") or "cannot be fetched" not in str(error):
            raise
        pytest.skip(str(error))
