"""The data sets that ``hpc-dl data make`` knows: one file each, whose name is the data set's name
in the YAML.

A new one is a new file with a ``SOURCE``; nothing else lists it. Light: no h5py, NumPy or torch
until one is made.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.data.spec import TaskName
from hpc_dl.errors import DataError, nearest


@dataclass(frozen=True)
class Source:
    """A real data set and how to make its HDF5 file.

    Attributes:
        name: the name of its file in this folder, and in the YAML.
        title: one line on what it is.
        task: what its targets are for.
        size: samples, shapes and classes, for people.
        license: SPDX expression, of the data ``AND`` of the package that they come in;
            ``LicenseRef-unknown`` where none was found for the data, ``CC0-1.0`` for what hpc_dl
            makes itself. The docstring tells where it stands.
        shared: what samples of different splits have in common: ``subject``, ``image``, ``writer``,
            ``atlas`` (the same regions), ``unknown`` or ``none``. A score on a test split that
            shares something says less about new subjects or images.
        fetched: where it comes from and how many bytes are fetched, for people.
        make: writes the HDF5 file to the given path; its second argument is a file or folder given
            by hand, or None.
    """

    name: str
    title: str
    task: TaskName
    size: str
    license: str
    shared: str
    fetched: str
    make: Callable[[Path, Path | None], None]


def names() -> list[str]:
    """Names of all data sources, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Source:
    """The data source of this name.

    Raises:
        DataError: there is none.
    """
    if name not in names():
        raise DataError.at(
            "data.source", "is not known", value=name, allowed=", ".join(names()), remedy=nearest(name, names())
        )
    source = importlib.import_module(f"{__name__}.{name}").SOURCE
    assert isinstance(source, Source)
    return source


def default_data_dir() -> Path:
    """Folder of the made files: ``$HPC_DL_DATA``, else ``data`` in the current folder."""
    return Path(os.environ.get("HPC_DL_DATA") or "data").expanduser()


def path_of(name: str, data_dir: str | Path | None = None) -> Path:
    """Where the file of a data source is, or will be."""
    return Path(default_data_dir() if data_dir is None else data_dir) / f"{name}.h5"


def file_of(word: str | Path, data_dir: str | Path | None = None) -> Path:
    """The file that a word on the command line means: a path, or the name of a data source that was
    made.
    """
    path = Path(word)
    if not path.exists() and str(word) in names() and path_of(str(word), data_dir).exists():
        return path_of(str(word), data_dir)
    return path


def ensure(name: str, data_dir: str | Path | None = None) -> Path:
    """The file of a data source, made when it is not there yet.

    Two processes that make it at once both succeed: each writes a file of its own name, and the
    last one stays.

    Raises:
        DataError: the name is unknown, the data cannot be had, or the file found is not that data
            set's or not whole.
    """
    source = load(name)
    path = path_of(name, data_dir)
    if not path.exists():
        source.make(path, None)
    _check_whole(path, name)
    return path


def _check_whole(path: Path, name: str) -> None:
    """HDF5 itself refuses a file that is shorter than its header says; values are checked by
    ``hpc-dl data verify``.
    """
    from hpc_dl.data.storage.hdf5 import attribute, open_file

    with open_file(path) as file:
        found = attribute(file, "source")
    if found != name:
        raise DataError.at(
            path,
            f"is not the {name} data set",
            value=found,
            remedy=f"move it away, or replace it with `hpc-dl data make {name} --force`",
        )
