"""Where a result comes from: code, packages, machine, data; never secrets."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hpc_dl
from hpc_dl.data.spec import DataSpec
from hpc_dl.runs.snapshot import origin_of

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
# Facts about the job that are safe to publish; no other environment variable is recorded.
_SLURM_FACTS = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_QOS",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
    "SLURM_NTASKS",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CLUSTER_NAME",
    "SLURM_RESTART_COUNT",
)


def collect(command: list[str], data: DataSpec, user_module: str | None = None) -> dict[str, Any]:
    """Collect everything that is needed to trace a result back to its origin.

    Args:
        command: the command line as typed.
        data: the data set.
        user_module: import path of the module with the user's model.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [redact(argument) for argument in command],
        "folder": str(Path.cwd()),
        "user": user(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "hpc_dl": hpc_dl.__version__,
        "packages": packages(),
        "git": commits(user_module),
        "data": {"file": data.file, "name": data.name, "checksum": data.checksum, "sizes": data.sizes},
    }


def user() -> str:
    """The name of the current user; the user id where there is no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@functools.cache
def packages() -> dict[str, str]:
    """The name and version of every installed package."""
    versions = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted((name, version) for name, version in versions.items() if name))


def commits(user_module: str | None = None) -> dict[str, dict[str, Any] | None]:
    """The commit of the code that runs: of this package, and of the user's top-level module.

    Returns:
        For ``hpc_dl``, and for the name of that module, as :func:`git_state`.
    """
    origins = {"hpc_dl": Path(hpc_dl.__file__).parent}
    if user_module is not None and (origin := origin_of(user_module)) is not None:
        origins[user_module.partition(".")[0]] = origin
    return {name: git_state(path) for name, path in origins.items()}


def git_state(path: Path) -> dict[str, Any] | None:
    """The commit of a file or folder that is under version control; ``None`` for any other.

    A package in a virtual environment inside of a repository is not part of that repository.

    Returns:
        ``repository`` (its folder), ``commit``, ``dirty`` (whether there are uncommitted changes)
        and ``diff``, these changes.
    """
    path = path.resolve()
    folder = path if path.is_dir() else path.parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or not _git(folder, "ls-files", "--", str(path)):
        return None
    diff = _git(folder, "diff", "HEAD") or ""
    repository = (_git(folder, "rev-parse", "--show-toplevel") or "").strip()
    return {"repository": repository, "commit": commit.strip(), "dirty": bool(diff), "diff": redact(diff)}


def slurm_facts(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The facts about the Slurm job that this process runs in; empty outside of a job."""
    return {key: environment[key] for key in _SLURM_FACTS if key in environment}


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Replace the values of environment variables that look like secrets."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and len(value) >= 8:
            text = text.replace(value, f"<{name}>")
    return text


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None
