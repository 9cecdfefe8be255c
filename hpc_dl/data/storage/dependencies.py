"""The files that a data file is read from: itself, and those behind links and virtual datasets.

Free of torch, for the login node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py

from hpc_dl.data.storage.links import candidates, external_path

_MAX_DEPTH = 32  # links and virtual datasets on the way to one dataset


class Link(NamedTuple):
    """A soft or external link in a file.

    Attributes:
        path: where the link is, ``/inputs``.
        kind: ``soft link`` or ``external link``.
        target: what it names: a path, or ``FILE:/path``.
        item: what HDF5 finds there; None if it leads nowhere.
    """

    path: str
    kind: str
    target: str
    item: h5py.Dataset | h5py.Group | None


def files_behind(path: str | Path, names: Iterable[str] | None = None) -> tuple[Path, ...]:
    """Return the file and all other files that HDF5 opens to read its datasets.

    These are the targets of external links, the sources of virtual datasets and the files of
    external storage, also of one another. Missing files are left out.

    Args:
        path: the file.
        names: the datasets that count; None for all, behind links, too.

    Returns:
        Absolute paths, the file itself first; symbolic links are not resolved.

    Raises:
        OSError: the file cannot be opened.
    """
    found: dict[Path, None] = {_absolute(path): None}
    with h5py.File(path, "r") as file:
        if names is None:
            listed = [name for name, _ in linked_datasets(file)] + [link.path for link in links_in(file)]
        else:
            listed = list(names)
        for name in dict.fromkeys(listed):
            _follow(file, name, found, 0)
    return tuple(found)


def target_of(file: h5py.File, path: str) -> tuple[str, str]:
    """Return the file and the path that a path leads to, with all links followed.

    Returns:
        The same path if there is no link on the way.
    """
    return _follow(file, path, {}, 0) or (file.filename, path)


def item_at(file: h5py.File, path: str) -> h5py.Dataset | h5py.Group | None:
    """Return what is at a path, or None: also if links lead nowhere, or in a circle."""
    try:
        return file.get(path)
    except (RuntimeError, OSError, KeyError, ValueError):
        return None


def links_in(file: h5py.File) -> Iterator[Link]:
    """Yield the soft and external links of a file; links inside of linked groups are not listed."""
    for group_path, group in _groups(file):
        for name in group:
            link = group.get(name, getlink=True)
            path = f"{group_path}/{name}"
            if isinstance(link, h5py.ExternalLink):
                target = f"{link.filename}:/{link.path.strip('/')}"
                yield Link(path, "external link", target, item_at(file, path))
            elif isinstance(link, h5py.SoftLink):
                yield Link(path, "soft link", link.path, item_at(file, path))


def linked_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield path and dataset of all datasets of a file, those behind links included.

    A group that is reached several times, such as by a link to a group above, is listed once.
    """
    yield from _datasets_below(file["/"], "", set())


def _datasets_below(group: h5py.Group, path: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, h5py.Dataset]]:
    seen.add(_identity(group))
    for name in group:
        item = item_at(group, name)
        if item is None and group.get(name, getclass=True, getlink=True) is h5py.HardLink:
            group[name]  # raises: it is damaged, and must not be skipped as a link that leads nowhere may
        if isinstance(item, h5py.Dataset):
            yield f"{path}/{name}", item
        elif isinstance(item, h5py.Group) and _identity(item) not in seen:
            yield from _datasets_below(item, f"{path}/{name}", seen)


def _groups(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """Yield the groups of the file itself, the root first."""
    names: list[str] = []
    file.visit(names.append)
    yield "", file["/"]
    for name in names:
        if isinstance(item := item_at(file, name), h5py.Group):
            yield f"/{name}", item


def _identity(group: h5py.Group) -> tuple[int, int]:
    info = h5py.h5o.get_info(group.id)
    return info.fileno, info.addr


def _follow(file: h5py.File, path: str, found: dict[Path, None], depth: int) -> tuple[str, str] | None:
    """Follow the links on a path, and record the files on the way and behind the dataset.

    Returns:
        The file and the path of the item; None if the path leads nowhere.
    """
    if depth > _MAX_DEPTH:
        return None
    group: h5py.Group = file["/"]
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for number, part in enumerate(parts):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        rest = "/".join(parts[number + 1 :])
        if isinstance(link, h5py.SoftLink):
            start = "" if link.path.startswith("/") else "/".join(parts[:number])
            return _follow(file, f"{start}/{link.path}/{rest}", found, depth + 1)
        if isinstance(link, h5py.ExternalLink):
            return _follow_external(file, link, rest, found, depth)
        if (item := item_at(group, part)) is None:
            return None
        group = item
    if isinstance(group, h5py.Dataset):
        _add_storage(group, found, depth)
    return file.filename, "/" + "/".join(parts)


def _follow_external(
    file: h5py.File, link: h5py.ExternalLink, rest: str, found: dict[Path, None], depth: int
) -> tuple[str, str] | None:
    folder = os.path.dirname(os.path.realpath(file.filename))
    for target in candidates(link.filename, folder, "HDF5_EXT_PREFIX"):
        found[_absolute(target)] = None
        try:
            with h5py.File(target, "r") as opened:
                return _follow(opened, f"{link.path}/{rest}", found, depth + 1)
        except OSError:
            return None
    return None


def _add_storage(dataset: h5py.Dataset, found: dict[Path, None], depth: int) -> None:
    """Record the files of external storage, and the sources of a virtual dataset."""
    creation = dataset.id.get_create_plist()
    for number in range(creation.get_external_count()):
        path = external_path(os.fsdecode(creation.get_external(number)[0]), dataset.file.filename)
        if os.path.isfile(path):
            found[_absolute(path)] = None
    if not dataset.is_virtual:
        return
    folder = os.path.dirname(os.path.realpath(dataset.file.filename))
    for file_name, source_name in sorted({(s.file_name, s.dset_name) for s in dataset.virtual_sources()}):
        if file_name == ".":
            _follow(dataset.file, source_name.replace("%b", "0"), found, depth + 1)
            continue
        for source in candidates(file_name, folder):
            found[_absolute(source)] = None
            try:
                with h5py.File(source, "r") as opened:
                    _follow(opened, source_name.replace("%b", "0"), found, depth + 1)
            except OSError:
                continue


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))
