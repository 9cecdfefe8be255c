"""Check that links, external storage and virtual datasets stay in the folder of the data file.

HDF5 follows all three anywhere. A file from someone else could thus pull any of the user's files
into training, and a file moved without its parts would silently read as fill values.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from typing import Any

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
        parts: dict[tuple[str, str], list[Any]] = {}
        for part in dataset.virtual_sources():
            parts.setdefault((part.file_name, part.dset_name), []).append(part)
        for (source_file, source_name), of_source in sorted(parts.items()):
            _check_source(dataset, source_file, source_name, of_source, place, opened, depth)


def _check_external(place: str, name: str, end: int, opened: str) -> None:
    target = os.path.realpath(external_path(name, opened))
    _refuse_outside(place, "stores its values in another file", target, opened)
    if not os.path.isfile(target) or os.path.getsize(target) < end:
        raise DataError.at(
            place,
            "stores its values in another file, which is missing or too short",
            value=target,
            remedy="restore that file, or set HDF5_EXTFILE_PREFIX to its folder",
        )


def _check_source(
    dataset: h5py.Dataset, file: str, name: str, parts: list[Any], place: str, opened: str, depth: int
) -> None:
    """Check one source of a virtual dataset, which may itself be virtual or a link.

    Args:
        dataset: the virtual dataset.
        file: of the source, as stored.
        name: of the source in that file.
        parts: what the virtual dataset maps from it, as h5py lists them.
        place: see :func:`check_links`.
        opened: path of the file that was opened.
        depth: number of virtual datasets on the way.
    """
    if file == ".":
        sources = [dataset.file.filename]
    else:
        sources = list(candidates(file, os.path.dirname(os.path.realpath(dataset.file.filename))))
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
                if "%" not in name and not all(_has_part(item, part) for part in parts):
                    raise DataError.at(
                        place,
                        f"is a virtual dataset with a source that has shrunk, {source}:{name}: "
                        "its missing rows would read as fill values",
                        value=item.shape,
                        remedy="restore the source, or create the virtual dataset again",
                    )
                _check(item, place, opened, depth + 1)
        except OSError as error:
            raise _missing_source(place, source) from error


def _has_part(source: h5py.Dataset, part: Any) -> bool:
    """Whether a source has all elements that a virtual dataset maps from it."""
    space = part.src_space
    if part.vspace.is_regular_hyperslab() and h5py.h5s.UNLIMITED in part.vspace.get_regular_hyperslab()[1]:
        return True  # the virtual dataset grows and shrinks with its source
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return bool(source.size == part.vspace.get_select_npoints())
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or space.get_simple_extent_ndims() != source.ndim:
        return True  # HDF5 checks these
    try:
        last = space.get_select_bounds()[1]
    except (ValueError, RuntimeError):  # an unlimited selection has no last element
        return True
    return all(end < length for end, length in zip(last, source.shape, strict=True))


def external_path(name: str, opened: str) -> str:
    """Return the path of a file with the values of a dataset.

    HDF5 resolves a relative name from the folder in HDF5_EXTFILE_PREFIX, or else from the working
    folder of the process.

    Args:
        name: as stored.
        opened: the file that holds the dataset.
    """
    folder = os.path.dirname(os.path.realpath(opened))
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", folder)
    return os.path.join(prefix, name)


def candidates(name: str, folder: str, prefixes_in: str = "HDF5_VDS_PREFIX") -> Iterator[str]:
    """Yield the files that HDF5 would open for a name; it searches these folders in this order.

    Args:
        name: as stored in a virtual dataset or a link.
        folder: of the file that holds it.
        prefixes_in: the environment variable with further folders.
    """
    prefixes = [prefix for prefix in os.environ.get(prefixes_in, "").split(":") if prefix]
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
