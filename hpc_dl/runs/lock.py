"""One training at a time in a run folder, also when its launcher was killed and nobody knows of its
ranks any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator

import psutil

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder

# The loader workers of a training that was killed share its lock until they notice, seconds later.
_PATIENCE_S = 10.0


class AtWork(RunError):
    """Another training is at work in the folder; what the folder tells is that one's, and not to be
    written over.
    """


@contextlib.contextmanager
def held(run: RunFolder) -> Iterator[None]:
    """Keep other trainings out while this one is at work; the system lets go of it however the
    process ends.

    Raises:
        AtWork: another training on this machine is at work in the folder.
    """
    descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        until = time.monotonic() + _PATIENCE_S
        while not _taken(descriptor) and time.monotonic() < until:
            if (holder := holder_of(run)) is not None:
                raise AtWork.at(run.name, f"is at work in {holder}", remedy="wait for it, or end that process")
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for forked loader workers, which share it
        os.close(descriptor)


def holder_of(run: RunFolder) -> str | None:
    """The training that is at work in the folder on this machine, in words; ``None`` where there is
    none.

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
        if host != socket.gethostname() or not pid.isdigit() or not psutil.pid_exists(int(pid)):
            return None
        return f"process {pid} on this machine"
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
