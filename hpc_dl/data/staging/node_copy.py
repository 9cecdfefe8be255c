"""One copy of a data file on a node, shared by all processes of the user that read it.

Next to each copy ``NAME`` is a lock ``NAME.lock``: exclusive for the process that makes or deletes
the copy, shared for those that read it. The system releases the locks of a process that is killed,
so that the next one notices a copy without readers, and what is left of half a copy
(``NAME.part``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from hpc_dl.data.staging.copying import CopyTimes, SourceFile, copy_files, copy_name, read_facts, source_files
from hpc_dl.data.staging.scratch import NotStaged, check_space, is_private, make_private

_POLL_S = 0.1
_SILENCE_S = 60.0  # after which a copy that another process makes is given up


class NodeCopy:
    """A copy that this process reads; it exists at least until :meth:`release`.

    Attributes:
        path: the copy of the data file.
        files: the copies of all its files.
        times: what making it took.
        is_new: whether this process has made it.
    """

    def __init__(self, lock: _Lock, folder: Path, files: tuple[SourceFile, ...], times: CopyTimes, is_new: bool):
        """Take over the lock, which is held as that of a reader."""
        self._lock = lock
        self.files = tuple(folder / "data" / file.name for file in files)
        self.path = self.files[0]
        self.times = times
        self.is_new = is_new

    def release(self) -> None:
        """Stop reading it; the last reader deletes it."""
        with contextlib.suppress(OSError):  # a copy that cannot be deleted is no failure of the training
            if self._lock.try_exclusive():
                self._lock.delete()
        self._lock.release()


def node_copy(file: Path, folder: Path, advanced: Callable[[int, int], None]) -> NodeCopy:
    """Return the copy of a data file on this node; one process makes it, and others wait for it.

    Args:
        file: the original.
        folder: of the user's copies on this node; created if its parent exists.
        advanced: called as long as the copy progresses, with the bytes copied so far (0 while
            another process copies) and those of all files; may raise NotStaged.

    Raises:
        NotStaged: there is none, for example for lack of space; nothing of it is left.
    """
    make_private(folder)
    files = source_files(file)
    total = sum(one.num_bytes for one in files)
    try:
        return _shared_copy(files, folder / copy_name(files), lambda done: advanced(done, total))
    except OSError as error:
        raise NotStaged.at(folder, error.strerror or str(error)) from None


def delete_unused(folder: Path, keep: str = "") -> None:
    """Delete the copies that no process reads: their last readers were killed.

    Args:
        folder: of the user's copies on this node; may not exist. Nothing is deleted where others
            could have put something, such as a link to another folder of the user.
        keep: the name of a copy that will be read.
    """
    if not is_private(folder):
        return
    with contextlib.suppress(OSError):
        for path in folder.glob("*.lock"):
            if path.stem != keep and (lock := _Lock.existing(path)) is not None:
                if lock.try_exclusive() and lock.is_current():
                    lock.delete()
                lock.release()


def _shared_copy(files: tuple[SourceFile, ...], copy: Path, advanced: Callable[[int], None]) -> NodeCopy:
    waited, touched, heard_at = False, 0, time.monotonic()
    while True:
        lock = _Lock(copy.with_suffix(".lock"))
        is_new = False
        try:
            if is_alone := lock.try_exclusive() and lock.is_current():
                if is_new := read_facts(copy) is None:
                    _make(files, copy, lock, waited, advanced)
                lock.share()
            else:
                lock.try_shared()
            if lock.is_shared and lock.is_current():
                if (times := read_facts(copy)) is not None:
                    return NodeCopy(lock, copy, files, times, is_new)
                raise NotStaged.at(copy, "has been damaged, and other processes still read it")
            waited = not is_alone and lock.is_making
            if lock.modified != touched:
                touched, heard_at = lock.modified, time.monotonic()
                advanced(0)
        except BaseException:
            lock.release()
            raise
        lock.release()
        if time.monotonic() - heard_at > _SILENCE_S:
            raise NotStaged.at(copy, f"another process that makes it has been silent for {_SILENCE_S:g} s")
        time.sleep(_POLL_S)


def _make(
    files: tuple[SourceFile, ...], copy: Path, lock: _Lock, waited: bool, advanced: Callable[[int], None]
) -> None:
    """Make the copy, under an exclusive lock; nothing of it is left if that fails."""
    try:
        if waited and not lock.partial.exists():  # a process that was killed would have left a part
            raise NotStaged.at(copy, "another process could not make it; its log says why")
        lock.delete_copies()
        delete_unused(copy.parent, keep=copy.name)
        lock.mark(1)
        check_space(copy.parent, sum(file.num_bytes for file in files))

        def step(done: int) -> None:
            lock.touch()
            advanced(done)

        copy_files(files, lock.partial, step)
        lock.partial.rename(copy)
        lock.mark(0)
    except BaseException:
        lock.delete()
        raise


class _Lock:
    """The lock of a copy, and the folders that it protects."""

    def __init__(self, path: Path, flags: int = os.O_CREAT) -> None:
        self._path = path
        self._copy = path.with_suffix("")
        self.partial = path.with_suffix(".part")
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
        self.is_shared = False

    @classmethod
    def existing(cls, path: Path) -> _Lock | None:
        try:
            return cls(path, 0)
        except OSError:  # deleted meanwhile
            return None

    @property
    def modified(self) -> int:
        """When the process that makes the copy has last made progress."""
        return os.fstat(self._descriptor).st_mtime_ns

    def touch(self) -> None:
        os.utime(self._descriptor)

    @property
    def is_making(self) -> bool:
        """Whether its process makes the copy, rather than deletes one that no process reads."""
        return os.fstat(self._descriptor).st_size > 0

    def mark(self, making: int) -> None:
        os.ftruncate(self._descriptor, making)

    def is_current(self) -> bool:
        """Whether this is still the lock: it is deleted with the copy."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.lstat())
        except OSError:
            return False

    def try_exclusive(self) -> bool:
        self.is_shared = False  # a conversion that fails gives up the lock
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> None:
        self.is_shared = self._try(fcntl.LOCK_SH)

    def share(self) -> None:
        """Become a reader; not atomic, so that the copy may be gone afterward."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        self.is_shared = True

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def delete_copies(self) -> None:
        with contextlib.suppress(OSError):
            self._copy.rename(self.partial)  # never half a copy under the name of a complete one
        for folder in (self.partial, self._copy):
            shutil.rmtree(folder, ignore_errors=True)

    def delete(self) -> None:
        """Delete the copy, then this lock, which must be exclusive."""
        self.delete_copies()
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # explicitly: forked loading workers share the lock
        os.close(self._descriptor)
