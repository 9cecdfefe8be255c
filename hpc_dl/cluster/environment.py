"""The environment of a job's processes: which code they import, and what of an outer job must not
leak into them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
# How a Slurm client finds its cluster; everything else called SLURM_* describes the job that we are
# in.
_CLIENT_SETTINGS = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_JWT"})


def import_folders(run: RunFolder, experiment: Experiment) -> tuple[str, str | None]:
    """What to put before and after the PYTHONPATH of a job.

    The snapshot comes first. The current folder comes last, and only for a user's own model:
    modules that the snapshot does not hold are still found there, but never instead of it.

    Args:
        run: the run.
        experiment: the experiment.
    """
    from hpc_dl.models.custom import CustomModelConfig

    return str(run.code), str(Path.cwd()) if isinstance(experiment.model, CustomModelConfig) else None


def for_python(environment: Mapping[str, str], run: RunFolder, experiment: Experiment) -> dict[str, str]:
    """A copy of an environment in which Python imports the run's snapshot, and prints without
    delay.
    """
    first, last = import_folders(run, experiment)
    parts = [first, environment.get("PYTHONPATH"), last]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(part for part in parts if part),
        "PYTHONSAFEPATH": "1",  # `python -m` would put the current folder, with its edits, before the snapshot
        "PYTHONUNBUFFERED": "1",
        "HDF5_USE_FILE_LOCKING": environment.get("HDF5_USE_FILE_LOCKING", "FALSE"),
    }


def outside_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy without the variables of a Slurm job, a submitit task or a launcher that we happen to
    run in.

    sbatch passes its environment on, and srun takes its defaults from it: an outer job's task count
    or memory would contradict the new job's.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _CLIENT_SETTINGS
        or not (name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")) or name in RANK_VARIABLES)
    }
