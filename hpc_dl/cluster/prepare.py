"""Preparation of a run: check the experiment, then create and fill its run folder."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster.folders import runs_folder
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data import sources
from hpc_dl.data.open_spec import open_untested_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import RunError
from hpc_dl.models.construction import search_current_folder
from hpc_dl.runs import provenance, snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.preflight import preflight
from hpc_dl.training.pretrained import weights_file


def check(
    experiment: Experiment,
    *,
    data_dir: Path | None,
    say: Callable[[str], None],
    runs: Path | None = None,
    try_batches: bool = False,
) -> tuple[Experiment, DataSpec, int | None]:
    """Create missing data, and check everything that can be checked before a job is queued.

    Args:
        experiment: as written by the user.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        say: prints one line for the user.
        runs: folder of all runs, for ``model.init_from``; ``None`` for the default.
        try_batches: whether to run one batch of each split through a user's own module or network.

    Returns:
        The experiment with its data source and initial weights resolved to absolute paths, the
        description of the data, and the number of trainable parameters; ``None`` if a user's own
        code takes too long to be built.

    Raises:
        HpcDlError: with all faults.
    """
    resolved, data = with_data(experiment, data_dir=data_dir, say=say, runs=runs)
    return resolved, data, check_model(resolved, data, say=say, try_batches=try_batches)


def with_data(
    experiment: Experiment, *, data_dir: Path | None, say: Callable[[str], None], runs: Path | None = None
) -> tuple[Experiment, DataSpec]:
    """Create missing data and open them.

    Args:
        experiment: as written by the user.
        data_dir: as for :func:`check`.
        say: as for :func:`check`.
        runs: as for :func:`check`.

    Returns:
        The experiment with its data source and initial weights resolved to absolute paths, and the
        description of the data.

    Raises:
        HpcDlError: with all faults.
    """
    source = experiment.data.source
    if source in sources.names() and not sources.path_of(source, data_dir).exists():
        say(f"Creating the data set {source} (only once)")
    data = open_untested_spec(experiment.data, data_dir)
    for note in data.notes:
        say(f"Note: {note}")
    section = experiment.data.model_copy(update={"source": None, "file": data.file or None})
    model = experiment.model
    if model.init_from is not None:
        weights = weights_file(model.init_from, runs or runs_folder())
        model = model.model_copy(update={"init_from": str(weights)})
    return dataclasses.replace(experiment, data=section, model=model), data


def check_model(
    resolved: Experiment, data: DataSpec, *, say: Callable[[str], None], try_batches: bool = False
) -> int | None:
    """Check an experiment with resolved data, and return the number of trainable parameters.

    Args:
        resolved: as returned by :func:`with_data`.
        data: likewise.
        say: as for :func:`check`.
        try_batches: as for :func:`check`.

    Returns:
        As the last value of :func:`check`.

    Raises:
        HpcDlError: with all faults.
    """
    if not resolved.model.import_paths:
        return preflight(resolved, data)
    from hpc_dl.training.own_code import check_own_code

    search_current_folder()  # for the copy of the code, too
    return check_own_code(resolved, data, try_batches=try_batches, say=say)


def prepare(
    experiment: Experiment,
    *,
    runs: Path,
    data_dir: Path | None,
    command: list[str],
    say: Callable[[str], None],
    try_batches: bool = False,
) -> RunFolder:
    """Check the experiment, then create and fill its run folder.

    Args:
        experiment: as written by the user.
        runs: folder of all runs.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        command: the command line, for the provenance.
        say: prints one line for the user.
        try_batches: as in :func:`check`.

    Raises:
        HpcDlError: with all faults; the run folder is deleted then.
    """
    resolved, data, _ = check(experiment, data_dir=data_dir, say=say, runs=runs, try_batches=try_batches)
    return create(resolved, data, runs=runs, command=command)


def create(experiment: Experiment, data: DataSpec, *, runs: Path, command: list[str]) -> RunFolder:
    """Create and fill the run folder of an experiment that has been checked.

    Args:
        experiment: as returned by :func:`check`.
        data: likewise.
        runs: folder of all runs.
        command: the command line, for the provenance.

    Raises:
        RunError: the folder cannot be written; nothing of it is left then.
    """
    run = RunFolder.create(runs, experiment.name)
    try:
        write_text(run.config, yaml.dumps(experiment.to_dict()))
        write_json(run.provenance, provenance.collect(command, data, user_module(experiment)))
        take_code(run, experiment)
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)
        if isinstance(error, (OSError, shutil.Error)):
            raise RunError.at(
                runs,
                f"the run folder cannot be written: {_os_message(error)}",
                remedy="free some space, or choose another folder with --runs DIR",
            ) from error
        raise
    return run


def take_code(run: RunFolder, experiment: Experiment) -> None:
    """Copy the current code into the run folder: this package, and that of a user's own model."""
    snapshot.take(run, *own_code(experiment))


def own_code(experiment: Experiment) -> tuple[str, ...]:
    """The import paths of a user's own classes for the model and the data."""
    return (*experiment.model.import_paths, *experiment.data.import_paths)


def user_module(experiment: Experiment) -> str | None:
    """The import path of the module with the user's own model; ``None`` for our architectures."""
    paths = experiment.model.import_paths
    return paths[0].rpartition(".")[0] if paths else None


def _os_message(error: OSError) -> str:
    """The system's message (No space left on device); copytree collects such errors in a list."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)
