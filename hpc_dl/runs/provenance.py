"""Where a result comes from: code, packages, machine, data; never secrets."""

from __future__ import annotations

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


def collect(command: list[str], data: DataSpec) -> dict[str, Any]:
    """Collect everything that is needed to trace a result back to its origin.

    Args:
        command: the command line as typed.
        data: the data set.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": [redact(argument) for argument in command],
        "user": user(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "hpc_dl": hpc_dl.__version__,
        "packages": packages(),
        "git": git_state(Path.cwd()),
        "data": {"file": data.file, "name": data.name, "checksum": data.checksum, "sizes": data.sizes},
    }


def user() -> str:
    """The name of the current user; the user id where there is no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def packages() -> dict[str, str]:
    """The name and version of every installed package."""
    versions = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted((name, version) for name, version in versions.items() if name))


def git_state(folder: Path) -> dict[str, str] | None:
    """The commit and the uncommitted changes of the Git repository around ``folder``, if any."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": redact(_git(folder, "diff", "HEAD") or "")}


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
