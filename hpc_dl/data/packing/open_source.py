"""Opens a path as the right kind of source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_dl.data.packing import csv_table, images, nifti
from hpc_dl.data.packing.arrays import open_npy, open_npz
from hpc_dl.data.packing.csv_table import open_csv
from hpc_dl.data.packing.file_per_sample import files_below
from hpc_dl.data.packing.hdf5 import open_hdf5
from hpc_dl.data.packing.images import open_images
from hpc_dl.data.packing.nifti import open_nifti
from hpc_dl.data.packing.parquet_table import open_parquet
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.errors import DataError

_HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".mat")

_OPENERS: dict[str, Callable[[Path, PackOptions], Source]] = {
    **dict.fromkeys(_HDF5, open_hdf5),
    ".npz": open_npz,
    ".npy": open_npy,
    **dict.fromkeys(csv_table.SUFFIXES, open_csv),
    ".parquet": open_parquet,
    ".pq": open_parquet,
}


def open_source(path: Path, options: PackOptions) -> Source:
    """Open a file according to its suffix, or a folder according to the files in it.

    Raises:
        DataError: the path does not exist, or its format is not supported.
    """
    if path.is_dir():
        return _open_folder(path, options)
    if not path.exists():
        raise DataError.at(path, "does not exist", remedy="check the path")
    for suffix, open_file in _OPENERS.items():
        if path.name.lower().endswith(suffix):
            return open_file(path, options)
    remedy = (
        "specify the folder with the volumes"
        if path.name.lower().endswith(nifti.SUFFIXES)
        else "convert it to a supported format"
    )
    raise DataError.at(path, "has an unsupported format", value=path.suffix, allowed=_allowed(), remedy=remedy)


def _open_folder(path: Path, options: PackOptions) -> Source:
    if any(path.glob("*.npy")):
        return open_npy(path, options)
    if files_below(path, nifti.SUFFIXES):
        return open_nifti(path, options)
    if files_below(path, images.SUFFIXES):
        return open_images(path, options)
    raise DataError.at(path, "contains no files of a supported format", allowed=_allowed())


def _allowed() -> str:
    return f"{' '.join(_OPENERS)}, or a folder of class folders with images, of npy files, or of NIfTI volumes"
