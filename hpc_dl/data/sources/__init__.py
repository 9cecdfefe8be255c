"""The data sets that ``hpc-dl data make`` can build, one module per data set.

The module's name is the data set's name in the YAML. To add a data set, add a module with a
``SOURCE``; no list has to be updated. Importing a source is cheap: h5py, NumPy and torch are only
imported when a file is made.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.spec import TaskName
from hpc_dl.errors import DataError, nearest
from hpc_dl.regular_files import user_path

if TYPE_CHECKING:
    from hpc_dl.data.files.format import Datasets, Samples


@dataclass(frozen=True)
class Source:
    """A data set and how to make its HDF5 file.

    Attributes:
        name: the name of its module in this package, and its name in the YAML.
        title: one-line description; stored in the made file.
        task: the task that its targets are for.
        size: number and shape of the samples and number of classes, as text.
        license: SPDX expression: the license of the data ``AND`` that of the package that ships
            them. ``LicenseRef-unknown`` where no license of the data was found, ``CC0-1.0`` for
            data that hpc_dl generates. The module's docstring says where the license is stated.
        shared: what samples of different splits have in common: ``subject``, ``image``, ``writer``,
            ``atlas`` (the same regions), ``unknown`` or ``none``. If the splits share something,
            the test score says less about new subjects or images.
        fetched: what is downloaded and its size, as text.
        make: writes the HDF5 file to the given path. Its second argument is a file or folder that
            the user downloaded, or None.
    """

    name: str
    title: str
    task: TaskName
    size: str
    license: str
    shared: str
    fetched: str
    make: Callable[[Path, Path | None], None]

    def write(
        self,
        path: Path,
        splits: Mapping[str, Samples | Datasets],
        *,
        provenance: str,
        url: str = "",
        class_names: Sequence[str] = (),
        input_units: str = "",
        target_units: str = "",
        inputs: Sequence[str] = ("inputs",),
        targets: Sequence[str] = ("targets",),
        stream: bool = False,
    ) -> None:
        """Write the HDF5 file of this data set, with its name, task, license, title and ``shared``.

        Args:
            path: the file to write.
            splits: the samples by ``train``, ``val`` and ``test``; see
                :func:`hpc_dl.data.files.format.write`, also for the other arguments.
            provenance: how the file was made: package, version, conversion.
            url: where the data set is described.
            class_names: names of the classes 0, 1, …, or of the tokens.
            input_units: unit of the input values.
            target_units: unit of the target values.
            inputs: names of the datasets that form an input.
            targets: names of the datasets that form a target.
            stream: whether each split is one long sequence that training cuts into windows.
        """
        from hpc_dl.data.files.format import write

        write(
            path,
            splits,
            source=self.name,
            task=self.task,
            license=self.license,
            description=self.title,
            shared=self.shared,
            provenance=provenance,
            url=url,
            class_names=class_names,
            input_units=input_units,
            target_units=target_units,
            inputs=inputs,
            targets=targets,
            stream=stream,
        )

    def refuse_file(self, given: Path | None) -> None:
        """Check that the user gave no file to make a generated data set from.

        Raises:
            DataError: a file was given.
        """
        if given is not None:
            raise DataError.at(given, f"is not needed: {self.name} is generated", remedy="omit `--from`")


def names() -> list[str]:
    """Return the names of all data sources, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str, where: str = "data.source") -> Source:
    """Return the data source with this name.

    Args:
        name: its name.
        where: the key or argument that gave the name, for the error.

    Raises:
        DataError: no source has this name.
    """
    if name not in names():
        raise DataError.at(where, "is not known", value=name, allowed=", ".join(names()), remedy=nearest(name, names()))
    source = importlib.import_module(f"{__name__}.{name}").SOURCE
    assert isinstance(source, Source)
    return source


def default_data_dir() -> Path:
    """Return the folder of the made files: ``$HPC_DL_DATA``, else ``./data``."""
    return user_path(os.environ.get("HPC_DL_DATA") or "data", "$HPC_DL_DATA")


def path_of(name: str, data_dir: str | Path | None = None) -> Path:
    """Return the path of a data source's file, whether it has been made or not."""
    return Path(default_data_dir() if data_dir is None else data_dir) / f"{name}.h5"


def file_of(file: str | Path, data_dir: str | Path | None = None) -> Path:
    """Resolve a command-line argument to a file: a path, or the name of a source that was made.

    Raises:
        DataError: the file does not exist, or the source has not been made.
    """
    path, name = Path(file), str(file)
    if path.exists():
        return path
    if name in names():
        if (made := path_of(name, data_dir)).exists():
            return made
        raise DataError.at(
            name, f"does not exist yet in {made.parent.absolute()}", remedy=f"make it with `hpc-dl data make {name}`"
        )
    remedy = nearest(name, names()) if path.suffix == "" else ""
    raise DataError.at(path, "does not exist", remedy=remedy or "check the path")


def ensure(name: str, data_dir: str | Path | None = None) -> Path:
    """Return the file of a data source; make it first if it does not exist.

    Two processes that make it at the same time both succeed: each writes its own temporary file,
    and the last rename wins.

    Raises:
        DataError: the name is unknown, the data cannot be fetched, or the existing file is
            truncated or holds another data set.
    """
    source = load(name)
    path = path_of(name, data_dir)
    if not path.exists():
        source.make(path, None)
    _check_is_source(path, name)
    return path


def _check_is_source(path: Path, name: str) -> None:
    """Check that a file opens and holds this data set.

    HDF5 itself refuses a truncated file. ``hpc-dl data verify`` checks the values.
    """
    from hpc_dl.data.storage.hdf5 import attribute, open_file

    with open_file(path) as file:
        stored_name = attribute(file, "source")
    if stored_name != name:
        raise DataError.at(
            path,
            f"is not the {name} data set",
            value=stored_name,
            remedy=f"move it away, or replace it with `hpc-dl data make {name} --force`",
        )
