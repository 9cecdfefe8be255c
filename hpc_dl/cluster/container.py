"""The Apptainer command of a job in a container, and the folders that must be visible in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.cluster.site import Container, expand
from hpc_dl.data.sources import path_of
from hpc_dl.errors import ClusterError
from hpc_dl.inference.model_task import ModelTask
from hpc_dl.runs.folder import CODE_STORE, RunFolder
from hpc_dl.runs.import_folders import import_folders
from hpc_dl.runs.predecessors import predecessors

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


def python_in_container(
    container: Container, run: RunFolder, experiment: Experiment, data_dir: Path | None, shared: Path | None = None
) -> list[str]:
    """Return the command that starts Python in the image.

    Args:
        container: of the site profile.
        run: the run folder; need not exist.
        experiment: the experiment.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        shared: a folder with the run and its code; ``None`` for their own folders.

    Raises:
        ClusterError: the path of a folder to bind has a character that separates binds.
        ConfigError: the image contains a variable that is not set.
    """
    own = [run.path, run.path.parent / CODE_STORE] if shared is None else [shared]
    others = [other.path for other in predecessors(run)]  # whose states the run checks when it starts
    if (task := ModelTask.of(run)) is not None:
        others += task.folders
    folders = list(dict.fromkeys([*map(str, [*own, *others]), *_needed_folders(experiment, data_dir)]))
    for folder in folders:
        if characters := set(",:") & set(folder):
            raise ClusterError.at(
                folder,
                f"a folder for a container must not contain {' or '.join(map(repr, sorted(characters)))}",
                remedy="rename it, or link to it from another folder",
            )
    command = ["apptainer", "exec"]
    if experiment.resources.gpus_per_node:
        command.append("--nv")
    for bind in dict.fromkeys([*folders, *map(os.path.expandvars, container.binds)]):
        command += ["--bind", bind]
    # Without the PYTHONPATH outside: the packages that site modules add to it are for another
    # Python.
    first, last = import_folders(run, experiment)
    command += ["--env", f"PYTHONPATH={first}:{last}" if last else f"PYTHONPATH={first}"]
    return [*command, *container.args, str(expand("container.image", container.image)), "python"]


def _needed_folders(experiment: Experiment, data_dir: Path | None) -> Iterator[str]:
    """Yield the folders of a run's data and of its initial weights, with the targets of links."""
    data = experiment.data
    file = Path(data.file) if data.file else path_of(data.source or "", data_dir)
    for needed in (file, *_files_behind(file)):
        yield from _folders_of(needed)
    weights = experiment.model.init_from
    if weights and os.path.isdir(os.path.dirname(weights)):  # an earlier run may still have to write them
        yield from _folders_of(Path(weights))


def _files_behind(file: Path) -> tuple[Path, ...]:
    """The files that HDF5 opens besides the data file; none if there is no file yet."""
    from hpc_dl.data.storage.dependencies import files_behind  # imports h5py, which few sites need here

    try:
        return files_behind(file)
    except (OSError, RuntimeError, KeyError, ValueError):  # missing or damaged; reading reports it
        return ()


def _folders_of(file: Path) -> Iterator[str]:
    """Yield the folder of a file and, if it is a symbolic link, those of every target in turn."""
    path = os.path.abspath(file)
    for _ in range(40):  # the limit of Linux
        yield os.path.dirname(path)
        if not os.path.islink(path):
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    yield os.path.dirname(os.path.realpath(file))
