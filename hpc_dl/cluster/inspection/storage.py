"""The file systems on which a user may keep runs and data, and the space on them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_TIMEOUT_S = 5.0
_VARIABLE = re.compile(r"SCRATCH|WORK|PROJECT")
_NOT_SHARED = re.compile(r"LOCAL|TMP|^SLURM_|^GITHUB_")
_FOLDERS = ("/scratch/{user}", "/work/{user}", "/lustre/{user}", "/gpfs/{user}", "/scratch/users/{user}", "/scratch")
_SHARED_KINDS = re.compile(
    r"nfs|lustre|gpfs|beegfs|ceph|panfs|pvfs2|orangefs|wekafs|gluster|smb|cifs|afs|9p|vast|quobyte|daos"
)


@dataclass(frozen=True)
class FileSystem:
    """A folder that may hold runs and data.

    Attributes:
        name: how the profile names it: ``$SCRATCH``, ``/scratch/me``.
        kind: of the file system (``lustre``), "" if unknown.
        free_bytes: for the user; quotas may allow less.
        free_inodes: likewise; ``None`` where the file system does not count them.
        writable: whether the user may create folders.
    """

    name: str
    kind: str
    free_bytes: int
    free_inodes: int | None
    writable: bool

    @property
    def shared(self) -> bool:
        """Whether it is of a kind that nodes share."""
        return _SHARED_KINDS.search(self.kind) is not None


def file_systems(environment: Mapping[str, str], user: str) -> list[FileSystem]:
    """Return the folders that exist, the most suitable first; $HOME is the last.

    A file system whose server does not respond is left out after some seconds.

    Args:
        environment: the user's variables, such as ``SCRATCH``.
        user: the name of the user.
    """
    variables = [name for name in environment if _VARIABLE.search(name) and not _NOT_SHARED.search(name)]
    variables.sort(key=lambda name: (name != "SCRATCH", "SCRATCH" not in name, name))
    names = [f"${name}" for name in variables] + [folder.format(user=user) for folder in _FOLDERS] + ["$HOME"]
    mounts = _mounts()
    found: dict[str, FileSystem] = {}
    for name in names:
        path = environment.get(name.removeprefix("$"), "") if name.startswith("$") else name
        if not path.startswith("/") or path in found:
            continue
        if (space := _space(path)) is not None:
            free_bytes, free_inodes, writable = space
            found[path] = FileSystem(name, kind_of(path, mounts), free_bytes, free_inodes or None, writable)
    return list(found.values())


def kind_of(path: str, mounts: str) -> str:
    """Return the kind of the file system of a path.

    Args:
        path: an absolute path.
        mounts: the content of ``/proc/mounts``.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, of_point, *_ = [*line.split(), "", "", ""]
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, of_point
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def in_time(question: Callable[[], _T]) -> _T | None:
    """Return the answer of a file system; ``None`` if it fails or does not respond in time."""
    found: list[_T] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            found.append(question())

    thread = threading.Thread(target=ask, daemon=True)  # a file system whose server is gone blocks forever
    thread.start()
    thread.join(_TIMEOUT_S)
    return found[0] if found else None


def existing_folder(path: Path) -> Path:
    """Return a folder, or the nearest one above it that exists; ask for it with :func:`in_time`."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _space(path: str) -> tuple[int, int, bool] | None:
    """Free bytes, free inodes and whether it is writable; ``None`` if there is no such folder."""

    def ask() -> tuple[int, int, bool] | None:
        if not os.path.isdir(path):
            return None
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize, status.f_favail, os.access(path, os.W_OK)

    return in_time(ask)
