"""Where a dataset really lies: external links, external storage and virtual datasets stay in the
folder of the file.

HDF5 follows all three anywhere. A file from somebody else could so read any file of the user's into
a training, and a file that was moved without its parts would give fill values in their place,
without a word.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

import h5py

from hpc_dl.errors import DataError

_MAX_DEPTH = 16


def check_links(dataset: h5py.Dataset, place: str, opened: str) -> None:
    """Check that all that a dataset needs is there, and in the folder of the file that was opened
    or below it.

    Args:
        dataset: the dataset that was found, links followed.
        place: what a fault names, ``FILE:/dataset``.
        opened: path of the file that was opened.

    Raises:
        DataError: something lies elsewhere, or is missing.
    """
    _check(dataset, place, os.path.realpath(opened), depth=0)


def _check(dataset: h5py.Dataset, place: str, opened: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise DataError.at(place, "is a virtual dataset of itself", remedy="mend its sources")
    file = os.path.realpath(dataset.file.filename)
    if file != opened:
        _refuse_outside(place, "is a link", file, opened)
    creation = dataset.id.get_create_plist()
    missing = dataset.dtype.itemsize * (dataset.size or 0)
    for number in range(creation.get_external_count()):
        name, offset, num_bytes = creation.get_external(number)
        part = min(num_bytes, missing)
        missing -= part
        _check_external(place, os.fsdecode(name), offset + part, opened)
    if dataset.is_virtual:
        for source_file, source_name in sorted({(s.file_name, s.dset_name) for s in dataset.virtual_sources()}):
            _check_source(dataset, source_file, source_name, place, opened, depth)


def _check_external(place: str, name: str, end: int, opened: str) -> None:
    # HDF5 takes a relative name from the folder in this variable, else from the working folder of
    # the process.
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", os.path.dirname(opened))
    target = os.path.realpath(os.path.join(prefix, name))
    _refuse_outside(place, "has its values in another file", target, opened)
    if not os.path.isfile(target) or os.path.getsize(target) < end:
        raise DataError.at(
            place,
            "has its values in another file, which is missing or too short",
            value=target,
            remedy="bring it back, or set HDF5_EXTFILE_PREFIX to its folder",
        )


def _check_source(dataset: h5py.Dataset, file: str, name: str, place: str, opened: str, depth: int) -> None:
    """One source of a virtual dataset, which may be virtual, or a link, itself."""
    if file == ".":
        sources = [dataset.file.filename]
    else:
        sources = list(_candidates(file, os.path.dirname(os.path.realpath(dataset.file.filename))))
    if not sources:
        raise _missing_source(place, file)
    for source in sources:
        _refuse_outside(place, "is a virtual dataset over another file", os.path.realpath(source), opened)
        try:
            with h5py.File(source, "r") as source_file:
                # `%b` in a name stands for the number of the block; the first tells where all of
                # them lie.
                found = source_file.get(name.replace("%b", "0"))
                if not isinstance(found, h5py.Dataset):
                    raise _missing_source(place, f"{source}:{name}")
                _check(found, place, opened, depth + 1)
        except OSError as error:
            raise _missing_source(place, source) from error


def _candidates(name: str, folder: str) -> Iterator[str]:
    """The files that HDF5 takes for a source, in the places where it looks, in its order."""
    prefixes = [prefix for prefix in os.environ.get("HDF5_VDS_PREFIX", "").split(":") if prefix]
    places = [prefix.replace("${ORIGIN}", folder) for prefix in prefixes] + [folder, os.getcwd()]
    if os.path.isabs(name):
        paths = [name, *(os.path.join(place, os.path.basename(name)) for place in places)]
    else:
        paths = [os.path.join(place, name) for place in places]
    for path in paths:
        if re.search("%[0-9]*b", path):
            pattern = re.sub("%[0-9]*b", "*", glob.escape(path))
            matches = sorted(glob.glob(pattern))
        else:
            matches = [path] if os.path.exists(path) else []
        if matches:
            yield from matches
            return


def _missing_source(place: str, source: str) -> DataError:
    return DataError.at(
        place,
        "is a virtual dataset over another one that is missing: its rows would be fill values",
        value=source,
        remedy="bring it back, or make the virtual dataset again without it",
    )


def _refuse_outside(place: str, what: str, target: str, opened: str) -> None:
    folder = os.path.dirname(opened)
    if os.path.commonpath([folder, target]) != folder:
        raise DataError.at(
            place,
            f"{what} outside of the folder of its file",
            value=target,
            allowed=f"{folder} and below",
            remedy="move the file there, or pack the data into one file (`hpc-dl data pack`)",
        )
