"""From an experiment to a filled run folder; the same for ``train`` and ``submit``."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data import sources
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import RunError
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.runs import provenance, snapshot
from hpc_dl.runs.folder import RunFolder, default_runs
from hpc_dl.training.preflight import preflight
from hpc_dl.training.pretrained import weights_file


def check(
    experiment: Experiment, *, data_dir: Path | None, say: Callable[[str], None], runs: Path | None = None
) -> tuple[Experiment, DataSpec, int]:
    """Make the data if it is missing, and check all that can be checked before a job waits.

    Args:
        experiment: as the user wrote it.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        say: tells the user one line.
        runs: folder of all runs, for ``model.init_from``; ``None`` for the default.

    Returns:
        The experiment with its data source, and the weights to begin with, resolved to absolute
        files; what the data are; and the number of trainable parameters.

    Raises:
        HpcDlError: with all faults found.
    """
    source = experiment.data.source
    if source in sources.names() and not sources.path_of(source, data_dir).exists():
        say(f"Making the data set {source} (once)")
    data = open_spec(experiment.data, data_dir)
    section = experiment.data.model_copy(update={"source": None, "file": data.file})
    model = experiment.model
    if model.init_from is not None:
        weights = weights_file(model.init_from, runs or default_runs())
        model = model.model_copy(update={"init_from": str(weights)})
    resolved = dataclasses.replace(experiment, data=section, model=model)
    return resolved, data, preflight(resolved, data)


def prepare(
    experiment: Experiment, *, runs: Path, data_dir: Path | None, command: list[str], say: Callable[[str], None]
) -> RunFolder:
    """Check the experiment, then make and fill its run folder.

    Args:
        experiment: as the user wrote it.
        runs: folder of all runs.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        command: the command line, for the provenance.
        say: tells the user one line.

    Raises:
        HpcDlError: with all faults found; no folder is left then.
    """
    resolved, data, _ = check(experiment, data_dir=data_dir, say=say, runs=runs)
    run = RunFolder.create(runs, experiment.name)
    try:
        write_text(run.config, yaml.dumps(resolved.to_dict()))
        write_json(run.provenance, provenance.collect(command, data))
        take_code(run, experiment)
    except BaseException as error:
        shutil.rmtree(run.path, ignore_errors=True)
        if isinstance(error, (OSError, shutil.Error)):
            raise RunError.at(
                runs,
                f"the run folder cannot be written: {_why(error)}",
                remedy="make room, or name another with --runs",
            ) from error
        raise
    return run


def take_code(run: RunFolder, experiment: Experiment) -> None:
    """Copy the code of now into the run folder: this package, and the user's own one where the
    model is theirs.
    """
    own = experiment.model
    snapshot.take(run, own.class_path.rpartition(".")[0] if isinstance(own, CustomModelConfig) else None)


def _why(error: OSError) -> str:
    """The system's word for it (No space left on device); copytree gathers such errors in a list."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)
