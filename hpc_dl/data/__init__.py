"""Data sets in HDF5 files: the file format, checks, reading, order, preprocessing and batches.

The package itself imports neither h5py, NumPy nor torch; each module imports what it needs.
``HDF5DataModule`` is imported when it is first accessed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpc_dl.data.datamodule import HDF5DataModule

__all__ = ["HDF5DataModule"]

# Parallel file systems (Lustre, NFS, BeeGFS) are often mounted without POSIX locks, in which case
# HDF5 refuses to open a file. Data files are replaced as a whole and never written in place, so a
# reader needs no lock. HDF5 reads the variable when h5py is imported, and all of our modules import
# it after this line. A value that the user has set is kept.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")


def __getattr__(name: str) -> Any:
    if name == "HDF5DataModule":
        from hpc_dl.data.datamodule import HDF5DataModule

        return HDF5DataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
