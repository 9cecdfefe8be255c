"""What a run folder knows about its run in W&B: ``wandb.json``, and the lock for uploads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

import psutil
from pydantic import TypeAdapter, ValidationError

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import DamagedFile, read_json

_POLL_S = 0.2
_STALE_S = 900.0  # an upload takes minutes at most, with all its waits


@dataclass
class WandbRecord:
    """The content of ``wandb.json``.

    Attributes:
        id: the run's id in W&B, random: a name may be used again, by others or in another folder.
        project: the project; ``None`` before W&B has the run.
        entity: its owner.
        url: the run's page.
        replaces: pages of earlier W&B runs of this run, which lacked rows or had foreign ones.
        folder: the run folder, by which a copy is recognized.
        refused_files: images and other media that W&B has refused.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(10))
    project: str | None = None
    entity: str | None = None
    url: str | None = None
    replaces: list[str] = field(default_factory=list)
    folder: str | None = None
    refused_files: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run_folder: Path) -> Self:
        """Read the record of a run; create it if there is none.

        A copy of a run folder becomes a W&B run of its own, since both may be trained further.

        Raises:
            OSError: it cannot be read or written.
            DamagedFile: it is damaged.
        """
        record = cls.read(run_folder) or cls()
        if record.folder is None or not _is_same(Path(record.folder), run_folder):
            if record.folder is not None and _has_id(Path(record.folder), record.id):
                record = cls(project=record.project, entity=record.entity)
            record.folder = str(run_folder.absolute())
            record.save(run_folder)
        return record

    @classmethod
    def read(cls, run_folder: Path) -> Self | None:
        """Read the record of a run; ``None`` if there is none.

        Raises:
            OSError: it cannot be read.
            DamagedFile: it is damaged.
        """
        content = read_json(_path(run_folder))
        try:
            return None if content is None else TypeAdapter(cls).validate_python(content)
        except ValidationError:
            remedy = "remove it; the run is then uploaded as a new W&B run"
            raise DamagedFile.at(_path(run_folder), "is damaged", remedy=remedy) from None

    def save(self, run_folder: Path) -> None:
        """Write the record.

        Raises:
            OSError: the disk is full or unavailable.
        """
        write_json(_path(run_folder), asdict(self))

    def replace(self) -> None:
        """Continue as another W&B run, which gets all rows."""
        page = self.url or self.id
        fresh = type(self)(
            project=self.project, entity=self.entity, replaces=[*self.replaces, page], folder=self.folder
        )
        for item in fields(self):
            setattr(self, item.name, getattr(fresh, item.name))


def _is_same(folder: Path, other: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return folder.samefile(other)
    return False


def _has_id(folder: Path, run_id: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        record = WandbRecord.read(folder)
        return record is not None and record.id == run_id
    return False


def _path(run_folder: Path) -> Path:
    return run_folder / "wandb.json"


@contextlib.contextmanager
def upload_lock(run_folder: Path, wait_s: float) -> Iterator[bool]:
    """Lock a run against other uploads, on this machine and on others.

    Args:
        run_folder: the run.
        wait_s: how long to wait for another upload.

    Yields:
        Whether this process has the lock.
    """
    path = run_folder / "wandb.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + wait_s
        while not (acquired := _acquire(descriptor, path)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        try:
            yield acquired
        finally:
            if acquired:
                _release(descriptor, path)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return _acquire_by_file(_exclusive(path))
    return True


def _acquire_by_file(path: Path) -> bool:
    """The lock on a file system that has none, such as Lustre without its option flock."""
    with contextlib.suppress(FileNotFoundError):
        if _is_abandoned(path):
            path.unlink()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{socket.gethostname()} {os.getpid()}")
    return True


def _is_abandoned(path: Path) -> bool:
    """Whether the process that made the file was killed."""
    if time.time() - path.stat().st_mtime > _STALE_S:
        return True
    host, _, process = path.read_text(encoding="utf-8", errors="replace").partition(" ")
    return host == socket.gethostname() and process.isdecimal() and not psutil.pid_exists(int(process))


def _release(descriptor: int, path: Path) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # explicitly: forked data loading workers share the lock
    with contextlib.suppress(OSError):
        _exclusive(path).unlink(missing_ok=True)


def _exclusive(path: Path) -> Path:
    return path.with_suffix(".exclusive")
