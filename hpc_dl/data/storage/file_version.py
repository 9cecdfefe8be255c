"""Noticing that a file was changed, replaced or removed while it is in use."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.errors import DataError
from hpc_dl.regular_files import repeated_once

_SECONDS_BETWEEN_CHECKS = 1.0
_REMEDY = "start the job again, and do not change its files while it is running"


@dataclass(frozen=True)
class Stamp:
    """What identifies the version of a file that was opened.

    Attributes:
        num_bytes: its size.
        modified: time of the last change in ns, as set by the writer; copying tools set it back.
        changed: time of the last change in ns, which only the system sets.
        inode: device and number of the inode.
        attributes: mode, owner, group and number of hard links, which say nothing about the
            content.
    """

    num_bytes: int
    modified: int
    changed: int
    inode: tuple[int, int]
    attributes: tuple[int, int, int, int]

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp from the result of ``os.stat`` or ``os.fstat``."""
        return cls(
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            (status.st_dev, status.st_ino),
            (status.st_mode, status.st_uid, status.st_gid, status.st_nlink),
        )

    def has_content_of(self, other: Stamp) -> bool:
        """Whether at most the attributes changed: by ``chmod``, ``chown`` or ``ln``."""
        same = (self.num_bytes, self.modified, self.inode) == (other.num_bytes, other.modified, other.inode)
        return same and (self.changed == other.changed or self.attributes != other.attributes)


class FileVersion:
    """A version of a file, which must stay the same."""

    def __init__(self, place: str, status: Callable[[], os.stat_result], stamp: Stamp) -> None:
        """Remember a version.

        Args:
            place: the file, for the message.
            status: returns the status of the file now.
            stamp: the version.
        """
        self._place = place
        self._status = status
        self._stamp = stamp
        self._checked_at = 0.0

    def check(self, *, at_once: bool = False) -> None:
        """Check that it is still this version; one call a second costs about two microseconds.

        Args:
            at_once: whether to check even if the last check was less than a second ago.

        Raises:
            DataError: the file was changed, replaced or removed.
        """
        now = time.monotonic()
        if now - self._checked_at < _SECONDS_BETWEEN_CHECKS and self._checked_at and not at_once:
            return
        stamp = Stamp.of(self._status_now())
        if not stamp.has_content_of(self._stamp):
            problem = f"was {'changed' if stamp.inode == self._stamp.inode else 'replaced'} while it was being read"
            if stamp.num_bytes == self._stamp.num_bytes:
                raise DataError.at(self._place, f"{problem} (it has the same size)", remedy=_REMEDY)
            raise DataError.at(
                self._place,
                problem,
                value=f"{stamp.num_bytes} bytes",
                allowed=f"the file of {self._stamp.num_bytes} bytes that was opened",
                remedy=_REMEDY,
            )
        self._stamp = stamp
        self._checked_at = now

    def _status_now(self) -> os.stat_result:
        try:
            return repeated_once(self._status)
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
            problem = "was removed" if gone else f"became unreadable ({error.strerror})"
            raise DataError.at(self._place, f"{problem} while it was being read", remedy=_REMEDY) from None


class WatchedFiles:
    """The files that a training depends on, as they were when it started.

    A file that is replaced keeps its old content for those who have it open. The training ends
    nevertheless, since what opens it next would get the new content.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        """Remember the present versions; files that cannot be opened are left out."""
        self._descriptors: list[int] = []
        self._versions: list[FileVersion] = []
        self.add(paths)

    def add(self, paths: Iterable[Path]) -> None:
        """Watch more files, from their present versions on."""
        for path in paths:
            try:
                # Open for as long as it is watched, or a new file could get the number of its
                # inode.
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:  # the next attempt to open it reports this better
                continue
            self._descriptors.append(descriptor)
            stamp = Stamp.of(os.fstat(descriptor))
            self._versions.append(FileVersion(str(path), lambda path=path: os.stat(path), stamp))  # type: ignore[misc]

    def check(self, *, at_once: bool = False) -> None:
        """Check all files; see :meth:`FileVersion.check`."""
        for version in self._versions:
            version.check(at_once=at_once)

    def close(self) -> None:
        """Close the files; they are no longer watched."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors, self._versions = [], []
