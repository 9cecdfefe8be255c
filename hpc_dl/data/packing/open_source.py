"""Opens a path as the right kind of source."""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.packing.formats import formats
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.refused import remedy_for
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.errors import DataError


def open_source(path: Path, options: PackOptions) -> Source:
    """Open a file or folder in the format that claims it.

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
            return format.open(path, options)
    # Suffixes first, then folders.
    allowed = "; ".join(sorted((format.accepts for format in known), key=lambda accepts: accepts[0] != "."))
    if place.is_folder:
        raise DataError.at(path, "contains no files of a supported format", allowed=allowed, remedy=remedy_for(place))
    raise DataError.at(path, "has an unsupported format", value=path.suffix, allowed=allowed, remedy=remedy_for(place))
