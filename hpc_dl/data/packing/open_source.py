"""Opens a path as the right kind of source."""

from __future__ import annotations

from pathlib import Path

import h5py

from hpc_dl.data.packing.damaged import damage_reported
from hpc_dl.data.packing.formats import Format, formats
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.refused import remedy_for
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.storage.hdf5 import open_file
from hpc_dl.errors import DataError


def open_source(path: Path, options: PackOptions) -> Source:
    """Open a file or folder in the format that claims it.

    Raises:
        DataError: as for :func:`format_of`, or its content cannot be read.
    """
    with damage_reported(path):
        return format_of(path).open(path, options)


def is_hdf5(path: Path) -> bool:
    """Whether a path is an HDF5 file, or should be one by its name."""
    return path.suffix.lower() in (".h5", ".hdf5") or (path.is_file() and h5py.is_hdf5(path))


def check_readable(path: Path) -> None:
    """Check that a path is an HDF5 file, or that a format claims it; its samples are not read.

    Raises:
        DataError: it is neither.
    """
    if is_hdf5(path):
        open_file(path).close()
    else:
        format_of(path)


def format_of(path: Path) -> Format:
    """Return the format that claims a file or folder.

    Raises:
        DataError: the path does not exist, or no format claims it; the message lists what can be
            packed, and names the tool that converts a known format.
    """
    try:
        exists, is_regular = path.exists(), path.is_file() or path.is_dir()
    except (OSError, ValueError) as error:  # a loop of links, a null character in the name
        raise DataError.at(path, f"cannot be opened: {error}", remedy="check the path") from None
    if not exists:
        raise DataError.at(path, "does not exist", remedy="check the path")
    if not is_regular:
        raise DataError.at(path, "is neither a file nor a folder", remedy="save the data to a file first")
    place = Place(path)
    known = formats()
    for format in known:
        if format.claims(place):
            return format
    # Suffixes first, then folders.
    allowed = "; ".join(sorted((format.accepts for format in known), key=lambda accepts: accepts[0] != "."))
    if place.is_folder:
        raise DataError.at(path, "contains no files of a supported format", allowed=allowed, remedy=remedy_for(place))
    raise DataError.at(path, "has an unsupported format", value=path.suffix, allowed=allowed, remedy=remedy_for(place))
