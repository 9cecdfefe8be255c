"""Where copies of data files go: a folder of the user's own, on a disk or in memory of the node."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import psutil

from hpc_dl.data.config import Stage
from hpc_dl.data.storage.available_memory import stays_in_memory
from hpc_dl.errors import DataError
from hpc_dl.formatting import megabytes

#: The scratch folder of a node; the batch script sets it from the site profile.
SCRATCH = "HPC_DL_SCRATCH"

_RAM = Path("/dev/shm")  # only with a folder of the user's own below it
_TMP = "/tmp"
_SPARE_BYTES = 64 << 20  # left free for others on a small disk


class NotStaged(DataError):
    """There is no copy for this attempt, which reads the original instead."""


def scratch_folder(stage: Stage, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the user's own folder for copies on this node; need not exist.

    Args:
        stage: ``node``: below ``$HPC_DL_SCRATCH``, ``$SLURM_TMPDIR``, ``$TMPDIR`` or ``/tmp``, the
            first that exists; ``ram``: below ``/dev/shm``.
        environment: the environment variables.
    """
    own = f"hpc_dl-{os.geteuid()}"
    if stage == "ram":
        return _RAM / own
    named = (os.path.expandvars(environment.get(name, "")) for name in (SCRATCH, "SLURM_TMPDIR", "TMPDIR"))
    return Path(next((folder for folder in named if os.path.isabs(folder) and os.path.isdir(folder)), _TMP)) / own


def make_private(folder: Path) -> None:
    """Create a folder that only its owner can use.

    Raises:
        NotStaged: it cannot be created, or belongs to someone else, who could change the data.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise NotStaged.at(folder, f"cannot be created: {error.strerror}") from None
    if not is_private(folder):
        raise NotStaged.at(folder, "is not a folder that only you can change")


def is_private(folder: Path) -> bool:
    """Whether this is a folder, not a link, that nobody else can change."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def check_space(folder: Path, num_bytes: int) -> None:
    """Check that a copy fits, and leaves some space; in memory, as much as it takes.

    Raises:
        NotStaged: it does not fit.
    """
    free = shutil.disk_usage(folder).free
    if num_bytes + _SPARE_BYTES > free:
        raise NotStaged.at(folder, f"has {megabytes(free)} free, too little for {megabytes(num_bytes)}")
    if _is_in_memory(folder) and not stays_in_memory(num_bytes):
        raise NotStaged.at(folder, f"is in memory, of which {megabytes(num_bytes)} would take more than half")


def _is_in_memory(folder: Path) -> bool:
    """Whether a folder is on a file system whose files count as memory of the job."""
    path = folder.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    return bool(mounts) and max(mounts, key=lambda mount: len(mount.mountpoint)).fstype in ("tmpfs", "ramfs")
