"""HDF5 could not lock a file."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Hdf5Lock(Rule):
    """HDF5's message."""

    patterns = (
        r"(?i)unable to lock file",
        r"unable to (?:synchronously )?open file.*(?:errno = 11|Resource temporarily unavailable|lock)",
        r"file is already open for (?:write|read-only|SWMR)",
    )
    cause = "HDF5 could not lock the data file: the file system has no locks, or another process writes the file"
    remedy = (
        "make sure that nobody writes the file; where the file system has no locks, set "
        "HDF5_USE_FILE_LOCKING: FALSE under `environment` in the site profile (hpc_dl does so unless "
        "you set it)"
    )
    keys = ("environment", "data.file")
