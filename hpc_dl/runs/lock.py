"""One training at a time in a run folder, also when its launcher was killed and nobody knows of its ranks any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder


@contextlib.contextmanager
def held(run: RunFolder) -> Iterator[None]:
    """Keep other trainings out while this one is at work; the system lets go of it however the process ends.

    Raises:
        RunError: another training on this machine is at work in the folder.
    """
    descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken(descriptor):
            if (holder := holder_of(run)) is not None:
                raise RunError.at(run.name, f"is at work in {holder}", remedy="wait for it, or end that process")
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder_of(run: RunFolder) -> str | None:
    """The training that is at work in the folder on this machine, in words; ``None`` where there is none.

    What other machines hold is not asked: a file system may keep the lock of a node that died.
    """
    try:
        descriptor = os.open(run.lock, os.O_RDWR)
    except OSError:
        return None
    try:
        if _taken(descriptor):
            return None
        host, _, pid = os.pread(descriptor, 300, 0).decode(errors="replace").strip().partition(" ")
        return f"process {pid} on this machine" if host == socket.gethostname() else None
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Whether the lock is ours now; also where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
