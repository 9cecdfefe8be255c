"""The other files that an HDF5 file needs: targets of links, external storage, virtual sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import h5py

from hpc_dl.data.storage.links import source_files

_MOST_FILES = 1000


def external_files(path: Path) -> list[Path]:
    """Return every existing file that reading an HDF5 file may open besides itself.

    External links, external storage and sources of virtual datasets are followed from file to file.
    Nothing is read except names, and files that are missing or no HDF5 are left out.

    Args:
        path: the file; need not exist.

    Returns:
        The files, as absolute paths with symbolic links in them unresolved.
    """
    found: dict[str, None] = {}
    waiting = [os.path.abspath(path)]
    visited: set[str] = set()
    while waiting and len(visited) < _MOST_FILES:
        file = waiting.pop()
        if (real := os.path.realpath(file)) in visited:
            continue
        visited.add(real)
        for other in _named_in(file):
            if os.path.exists(other):
                found[other] = None
                waiting.append(other)
    return [Path(file) for file in found if os.path.realpath(file) != os.path.realpath(path)]


def _named_in(file: str) -> list[str]:
    """The files that an HDF5 file names; none if it cannot be opened as HDF5."""
    names: list[str] = []
    try:
        with h5py.File(file, "r") as opened:
            folder = os.path.dirname(os.path.realpath(file))

            def visit(name: str, link: object) -> None:
                if isinstance(link, h5py.ExternalLink):
                    names.extend(_targets_of_link(link.filename, file))
                elif isinstance(link, h5py.HardLink) and isinstance(item := opened[name], h5py.Dataset):
                    names.extend(_files_of_dataset(item, folder))

            opened.visititems_links(visit)
    except (OSError, RuntimeError, KeyError, ValueError):
        return names
    return names


def _targets_of_link(name: str, file: str) -> Iterator[str]:
    """Where HDF5 looks for the target of an external link, in this order."""
    folders = [prefix for prefix in os.environ.get("HDF5_EXT_PREFIX", "").split(":") if prefix]
    folders += [os.path.dirname(file), os.path.dirname(os.path.realpath(file))]
    for folder in folders:
        yield os.path.abspath(os.path.join(folder, name))


def _files_of_dataset(dataset: h5py.Dataset, folder: str) -> Iterator[str]:
    creation = dataset.id.get_create_plist()
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", folder)
    for number in range(creation.get_external_count()):
        yield os.path.abspath(os.path.join(prefix, os.fsdecode(creation.get_external(number)[0])))
    if dataset.is_virtual:
        for source in {source.file_name for source in dataset.virtual_sources()} - {"."}:
            yield from map(os.path.abspath, source_files(source, folder))
