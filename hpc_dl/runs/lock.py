"""The lock that allows only one training at a time in a run folder.

It also protects against ranks that are still training although their launcher was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator

import psutil

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder

# Data loading workers inherit the lock of a killed training and keep it until they exit, seconds
# later.
_WAIT_S = 10.0
_PID = re.compile(r"[0-9]{1,9}")


class AlreadyRunning(RunError):
    """Another training is running in the folder, and its state must not be overwritten."""


@contextlib.contextmanager
def held(run: RunFolder) -> Iterator[None]:
    """Lock the run folder against other trainings; the system releases the lock when we end.

    Raises:
        AlreadyRunning: another training on this machine is running in the folder.
    """
    descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + _WAIT_S
        while not _acquire(descriptor) and time.monotonic() < deadline:
            if (holder := holder_of(run)) is not None:
                raise AlreadyRunning.at(run.name, f"is running in {holder}", remedy="wait for it, or end that process")
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # explicitly: forked data loading workers share the lock
        os.close(descriptor)


def holder_of(run: RunFolder) -> str | None:
    """Describe the training on this machine that holds the lock; ``None`` if there is none.

    Locks of other machines are ignored: a file system may keep the lock of a node that crashed.
    """
    try:
        descriptor = os.open(run.lock, os.O_RDWR)
    except OSError:
        return None
    try:
        if _acquire(descriptor):
            return None
        host, _, pid = os.pread(descriptor, 300, 0).decode(errors="replace").strip().partition(" ")
        if host != socket.gethostname() or not _PID.fullmatch(pid) or not psutil.pid_exists(int(pid)):
            return None
        return f"process {pid} on this machine"
    except OSError:  # it is not a file
        return None
    finally:
        os.close(descriptor)


def _acquire(descriptor: int) -> bool:
    """Try to lock; also succeeds on a file system that has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
