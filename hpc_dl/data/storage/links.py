"""Check that links, external storage and virtual datasets stay in the folder of the data file.

HDF5 follows all three anywhere. A file from someone else could thus pull any of the user's files
into training, and a file moved without its parts would silently read as fill values.
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
    """Check that everything a dataset needs exists in the folder of the opened file or below.

    Args:
        dataset: the dataset, with links followed.
        place: of the dataset, for an error: ``FILE:/dataset``.
        opened: path of the file that was opened.

    Raises:
        DataError: something is stored elsewhere, or is missing.
    """
    _check(dataset, place, os.path.realpath(opened), depth=0)


def _check(dataset: h5py.Dataset, place: str, opened: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise DataError.at(
            place,
            "is a virtual dataset that contains itself",
            remedy="create the virtual dataset again from other datasets",
        )
    file = os.path.realpath(dataset.file.filename)
    if file != opened:
        _refuse_outside(place, "is a link to a dataset", file, opened)
    creation = dataset.id.get_create_plist()
    remaining = dataset.dtype.itemsize * (dataset.size or 0)
    for number in range(creation.get_external_count()):
        name, offset, num_bytes = creation.get_external(number)
        used = min(num_bytes, remaining)
        remaining -= used
        _check_external(place, os.fsdecode(name), offset + used, opened)
    if dataset.is_virtual:
        for source_file, source_name in sorted({(s.file_name, s.dset_name) for s in dataset.virtual_sources()}):
            _check_source(dataset, source_file, source_name, place, opened, depth)


def _check_external(place: str, name: str, end: int, opened: str) -> None:
    # HDF5 resolves a relative name from the folder in this variable, or else from the working
    # folder of the process.
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", os.path.dirname(opened))
    target = os.path.realpath(os.path.join(prefix, name))
    _refuse_outside(place, "stores its values in another file", target, opened)
    if not os.path.isfile(target) or os.path.getsize(target) < end:
        raise DataError.at(
            place,
            "stores its values in another file, which is missing or too short",
            value=target,
            remedy="restore that file, or set HDF5_EXTFILE_PREFIX to its folder",
        )


def _check_source(dataset: h5py.Dataset, file: str, name: str, place: str, opened: str, depth: int) -> None:
    """Check one source of a virtual dataset, which may itself be virtual or a link."""
    if file == ".":
        sources = [dataset.file.filename]
    else:
        sources = list(_candidates(file, os.path.dirname(os.path.realpath(dataset.file.filename))))
    if not sources:
        raise _missing_source(place, file)
    for source in sources:
        _refuse_outside(place, "is a virtual dataset with a source", os.path.realpath(source), opened)
        try:
            with h5py.File(source, "r") as source_file:
                # `%b` in a name stands for the number of the block; the first block shows where all
                # of them are.
                item = source_file.get(name.replace("%b", "0"))
                if not isinstance(item, h5py.Dataset):
                    raise _missing_source(place, f"{source}:{name}")
                _check(item, place, opened, depth + 1)
        except OSError as error:
            raise _missing_source(place, source) from error


def _candidates(name: str, folder: str) -> Iterator[str]:
    """Yield the files that HDF5 would use as a source; it searches these folders in this order."""
    prefixes = [prefix for prefix in os.environ.get("HDF5_VDS_PREFIX", "").split(":") if prefix]
    folders = [prefix.replace("${ORIGIN}", folder) for prefix in prefixes] + [folder, os.getcwd()]
    if os.path.isabs(name):
        paths = [name, *(os.path.join(parent, os.path.basename(name)) for parent in folders)]
    else:
        paths = [os.path.join(parent, name) for parent in folders]
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
        "is a virtual dataset with a missing source, whose rows would read as fill values",
        value=source,
        remedy="restore the source, or create the virtual dataset again without it",
    )


def _refuse_outside(place: str, problem: str, target: str, opened: str) -> None:
    folder = os.path.dirname(opened)
    if os.path.commonpath([folder, target]) != folder:
        raise DataError.at(
            place,
            f"{problem} outside the folder of its file",
            value=target,
            allowed=f"{folder} and its subfolders",
            remedy="move that file there, or pack the data into one file with `hpc-dl data pack`",
        )
