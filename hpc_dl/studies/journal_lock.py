"""The lock of a study's journal, on any file system that several nodes share."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from optuna.storages.journal import JournalFileOpenLock

STALE_S = 30.0
"""A lock that its holder has not touched for so long belongs to a process that was killed."""

_POLL_S = (0.01, 0.1)


class JournalLock(JournalFileOpenLock):
    """A lock file that only one process can create, also over NFS from version 3 on.

    Optuna's own lock ends with each write, and one that takes over the lock of a killed process may
    remove that of a living one instead. This one may be held over several reads and writes, of
    which each shows the others that its holder lives. It excludes Optuna's lock, and the other way
    around: both use the same file.
    """

    def __init__(self, journal: Path, stale_s: float = STALE_S) -> None:
        """Take nothing yet.

        Args:
            journal: the file to protect.
            stale_s: how long a lock must stay untouched to be taken over.
        """
        super().__init__(str(journal))
        self._journal = journal
        self._file = journal.with_name(f"{journal.name}.lock")
        self._stale_s = stale_s
        self._depth = 0
        self._own: tuple[int, int] | None = None  # our lock file

    def acquire(self) -> bool:
        """Take the lock, or hold it once more."""
        if self._depth:
            self._touch()
        else:
            self._wait()
            self._drop_half_line()
        self._depth += 1
        return True

    def release(self) -> None:
        """Give the lock back, unless it is held by a surrounding call."""
        self._depth -= 1
        if self._depth == 0 and self._version() == self._own:
            self._file.unlink(missing_ok=True)

    def __enter__(self) -> JournalLock:
        self.acquire()
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()

    def _wait(self) -> None:
        seen, since = self._version(), time.monotonic()
        while True:
            with suppress(FileExistsError):
                os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                self._own = self._version()
                return
            if (version := self._version()) != seen:
                seen, since = version, time.monotonic()
            elif seen is not None and time.monotonic() - since > self._stale_s:
                self._remove(seen)
            time.sleep(random.uniform(*_POLL_S))

    def _remove(self, stale: tuple[int, int]) -> None:
        """Remove a stale lock; that of a process which was faster is put back."""
        taken = self._file.with_name(f"{self._file.name}.{uuid4().hex}")
        with suppress(OSError):
            os.rename(self._file, taken)
            facts = taken.stat()
            if (facts.st_ino, facts.st_mtime_ns) != stale:
                os.link(taken, self._file)
        taken.unlink(missing_ok=True)

    def _touch(self) -> None:
        if self._version() == self._own:
            with suppress(OSError):
                os.utime(self._file)
            self._own = self._version()

    def _version(self) -> tuple[int, int] | None:
        try:
            facts = self._file.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def _drop_half_line(self) -> None:
        """Drop what a killed process wrote of a line: the next line would continue it."""
        with suppress(FileNotFoundError), self._journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if file.read() not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
