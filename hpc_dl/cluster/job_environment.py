"""The environment variables of a job's processes: import path, and no traces of an outer job."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.import_folders import import_folders

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

#: What torchrun sets for its processes. Left over from another job, they would make a rank wait for
#: peers that do not exist.
RANK_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "ROLE_NAME",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS",
)
_OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "SBATCH_")
# srun takes its defaults from these variables, which may contradict the experiment's resources or
# come from another job. The ones that describe the allocation stay.
_NAMES = """
    SLURM_NTASKS SLURM_NPROCS SLURM_NTASKS_PER_NODE SLURM_NTASKS_PER_CORE SLURM_NTASKS_PER_GPU
    SLURM_NTASKS_PER_SOCKET SLURM_TASKS_PER_NODE SLURM_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK
    SLURM_DISTRIBUTION SLURM_DIST_PLANESIZE SLURM_HINT SLURM_EXPORT_ENV SLURM_KILL_BAD_EXIT SLURM_WAIT
    SLURM_TIMELIMIT SLURM_HOSTFILE SLURM_LABELIO SLURM_STDINMODE SLURM_STDOUTMODE SLURM_STDERRMODE
    SLURM_REMOTE_CWD SLURM_WORKING_DIR SLURM_EXCLUSIVE SLURM_OVERLAP SLURM_EXACT SLURM_IMMEDIATE SLURM_TEST_EXEC
    SLURM_CONSTRAINT
"""
_SRUN_DEFAULTS = frozenset(_NAMES.split())
# Settings of Slurm's commands; all other SLURM_* variables describe the job that we run in.
_CLIENT_SETTINGS = frozenset({"SLURM_CONF", "SLURM_JWT"})


def for_python(environment: Mapping[str, str], run: RunFolder, experiment: Experiment) -> dict[str, str]:
    """Return the environment, changed so that Python imports the run's snapshot, unbuffered."""
    first, last = import_folders(run, experiment)
    parts = [first, environment.get("PYTHONPATH"), last]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(part for part in parts if part),
        "PYTHONSAFEPATH": "1",  # else `python -m` imports from the current folder first
        "PYTHONUNBUFFERED": "1",
        "HDF5_USE_FILE_LOCKING": environment.get("HDF5_USE_FILE_LOCKING", "FALSE"),
    }


def like_this_process(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment, changed so that Python imports what this process imports."""
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def outside_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables of the Slurm job or launcher that we run in.

    sbatch passes its environment to the job, where srun uses it for its defaults: the task count or
    memory of the outer job would contradict the new one.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _CLIENT_SETTINGS or not (name.startswith(_OF_A_JOB) or name in RANK_VARIABLES)
    }


def for_srun(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a batch script without what would change how srun starts ranks."""
    return {
        name: value
        for name, value in environment.items()
        if name not in RANK_VARIABLES and name not in _SRUN_DEFAULTS and not name.startswith("SRUN_")
    }
