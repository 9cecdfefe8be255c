"""Whether HDF5 notices damage to the structure of a file: shapes, types, places of chunks."""

from __future__ import annotations

import h5py

_CHECKED_OBJECTS = 2  # version of object headers that end with a checksum
_CHECKED_CHUNKS = 3  # version of the superblock since HDF5 1.10, whose chunk indexes have checksums, too


def has_checked_structure(file: h5py.File) -> bool:
    """Whether all headers have checksums: files of ``libver="latest"`` do, those by default do not.

    Without them a flipped bit may turn a shape, a type or the place of a chunk into another that is
    valid, too.
    """
    if file.id.get_create_plist().get_version()[0] < _CHECKED_CHUNKS:
        return False
    unchecked: list[str] = []

    def examine(name: str) -> str | None:
        if h5py.h5o.get_info(file.id, name.encode()).hdr.version < _CHECKED_OBJECTS:
            unchecked.append(name)
        return name if unchecked else None  # anything but None ends the visit

    file.visit(examine)
    return not unchecked and h5py.h5o.get_info(file.id).hdr.version >= _CHECKED_OBJECTS
