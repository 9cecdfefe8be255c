"""Which kind of source a path is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_dl.data.packing import csv_table, images, nifti
from hpc_dl.data.packing.arrays import open_npy, open_npz
from hpc_dl.data.packing.csv_table import open_csv
from hpc_dl.data.packing.hdf5 import open_hdf5
from hpc_dl.data.packing.images import open_images
from hpc_dl.data.packing.nifti import open_nifti
from hpc_dl.data.packing.parquet_table import open_parquet
from hpc_dl.data.packing.single_files import files_below
from hpc_dl.data.packing.source import Source, Wishes
from hpc_dl.errors import DataError

_HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".mat")

_FILES: dict[str, Callable[[Path, Wishes], Source]] = {
    **dict.fromkeys(_HDF5, open_hdf5),
    ".npz": open_npz,
    ".npy": open_npy,
    **dict.fromkeys(csv_table.SUFFIXES, open_csv),
    ".parquet": open_parquet,
    ".pq": open_parquet,
}


def open_source(path: Path, wishes: Wishes) -> Source:
    """Open a file by its ending, a folder by what lies in it.

    Raises:
        DataError: there is nothing there, or it is of no kind that is known.
    """
    if path.is_dir():
        return _open_folder(path, wishes)
    if not path.exists():
        raise DataError.at(path, "there is no such file or folder", remedy="check the path")
    for suffix, opened in _FILES.items():
        if path.name.lower().endswith(suffix):
            return opened(path, wishes)
    remedy = "give the folder of the volumes" if path.name.lower().endswith(nifti.SUFFIXES) else "convert it to one"
    raise DataError.at(path, "is of no kind that can be packed", value=path.suffix, allowed=_allowed(), remedy=remedy)


def _open_folder(path: Path, wishes: Wishes) -> Source:
    if any(path.glob("*.npy")):
        return open_npy(path, wishes)
    if files_below(path, nifti.SUFFIXES):
        return open_nifti(path, wishes)
    if files_below(path, images.SUFFIXES):
        return open_images(path, wishes)
    raise DataError.at(path, "holds nothing that can be packed", allowed=_allowed())


def _allowed() -> str:
    return f"{' '.join(_FILES)}, or a folder of images in folders of classes, of npy files, or of NIfTI volumes"
