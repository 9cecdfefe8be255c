"""Files of the cluster: atomic writes, locks, and the ends of logs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import tempfile
from collections.abc import Iterator

from dev_cluster.errors import Fault
from dev_cluster.processes import wait_until


def write_atomically(path: pathlib.Path, text: str, mode: int = 0o644) -> None:
    """Replace a file so that readers see the old or the new text, never a part of one.

    A bind-mounted file, as /etc/hosts is in containers, cannot be replaced: it is overwritten.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, mode)
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            path.write_text(text)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def locked(path: pathlib.Path, timeout_s: float) -> Iterator[None]:
    """Hold an advisory lock on a file or folder; the kernel releases it when the process ends.

    Raises:
        Fault: another command holds the lock for longer than `timeout_s`, or has deleted the file.
    """
    descriptor = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o600)

    def try_lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not wait_until(try_lock, timeout_s):
            raise Fault(f"another cluster command has held {path} for {timeout_s:g} s: wait for it, then repeat", 1)
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise Fault(f"another cluster command has deleted {path.parent} (down --purge): repeat", 1)
        yield
    finally:
        os.close(descriptor)


def last_lines(path: pathlib.Path, count: int = 12) -> str:
    """Return the last lines of a log, indented."""
    try:
        lines = path.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"
