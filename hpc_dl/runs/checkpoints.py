"""The checkpoint files of a run, written so that a kill at any moment leaves the one before it
whole.

::

    checkpoints/
      step-00000400.ckpt           to go on from; the newest two are kept
      step-00000400.ckpt.sha256    its checksum, for `sha256sum --check`
      best-00000350.ckpt           the best weights so far, and those of the older step-*.ckpt
      last.ckpt, best.ckpt         links to the newest of each

The number counts the optimizer steps done. The best as of a step is therefore the ``best-*`` file
with the highest number up to it, and whatever has a higher number than the checkpoint that a run
goes on from belongs to a lost attempt. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from hpc_dl.atomic_files import fsync

Kind = Literal["step", "best"]

_NAME = re.compile(r"(?P<kind>step|best)-(?P<step>\d{8,})\.ckpt")
_CHECKSUM = re.compile(rb"([0-9a-f]{64})  \S+\n")
_KEPT = 2


@dataclass(frozen=True, order=True)
class Checkpoint:
    """One file.

    Attributes:
        step: optimizer steps done.
        path: where it is.
    """

    step: int
    path: Path

    @property
    def checksum_file(self) -> Path:
        """The SHA-256 beside it, in sha256sum's format."""
        return self.path.with_name(f"{self.path.name}.sha256")


def at(folder: Path, kind: Kind, step: int) -> Checkpoint:
    """The checkpoint of a step, whether it is there or not."""
    return Checkpoint(step, folder / f"{kind}-{step:08d}.ckpt")


def listed(folder: Path, kind: Kind) -> list[Checkpoint]:
    """The checkpoints of one kind, oldest first; whether they are whole is not looked at."""
    found = []
    for path in folder.glob(f"{kind}-*.ckpt") if folder.is_dir() else ():
        if (match := _NAME.fullmatch(path.name)) is not None:
            found.append(Checkpoint(int(match["step"]), path))
    return sorted(found)


def write(folder: Path, kind: Kind, step: int, save: Callable[[BinaryIO], None]) -> Checkpoint:
    """Write a checkpoint, verify it, then put it in place.

    Args:
        folder: the run's checkpoint folder.
        kind: ``step`` to go on from, ``best`` to keep.
        step: optimizer steps done.
        save: writes the content, from beginning to end, into the file that it is given.

    Raises:
        OSError: the disk is full or gone, or gives back other bytes than were written; nothing of
            the attempt is left, and what was there before is untouched.
    """
    checkpoint = at(folder, kind, step)
    temporary = folder / f".{checkpoint.path.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            hashing = _Hashing(file)
            save(hashing)  # type: ignore[arg-type]
            hashing.raise_problem()
            file.flush()
            os.fsync(file.fileno())
        digest = hashing.hexdigest()
        if _sha256(temporary) != digest:
            raise OSError(f"{temporary} does not hold what was written to it")
        # A kill between these lines leaves a whole checkpoint without its checksum, never one with
        # a wrong checksum.
        checkpoint.checksum_file.unlink(missing_ok=True)
        os.replace(temporary, checkpoint.path)
        fsync(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _write_checksum(checkpoint, digest)
    _link(folder / f"{'last' if kind == 'step' else 'best'}.ckpt", checkpoint.path)
    return checkpoint


def problem_of(checkpoint: Checkpoint) -> str:
    """What is wrong with a file, in words; empty when it is whole."""
    try:
        told = _CHECKSUM.fullmatch(checkpoint.checksum_file.read_bytes())
    except OSError:
        told = None
    try:
        if told:
            return "" if _sha256(checkpoint.path) == told[1].decode() else "its content does not match its checksum"
        # Killed before the checksum was written, or the checksum itself is damaged; torch's files
        # are zip archives with checksums of their own.
        with zipfile.ZipFile(checkpoint.path) as archive:
            return "" if archive.testzip() is None else "its content is damaged"
    except Exception as error:  # what zipfile raises depends on which byte is wrong
        return f"it cannot be read: {error}"


def newest_whole(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that can be gone on from, or ``None``. Damaged ones on the way are
    renamed, and told.
    """
    there = listed(folder, "step")
    while there:
        checkpoint = there.pop()
        problem = problem_of(checkpoint)
        if not problem:
            return checkpoint
        instead = "the one before it is used" if there else "none is left: the training begins anew"
        say(f"{checkpoint.path} is damaged ({problem}): it is renamed to *.damaged, and {instead}")
        os.replace(checkpoint.path, checkpoint.path.with_name(f"{checkpoint.path.name}.damaged"))
        checkpoint.checksum_file.unlink(missing_ok=True)
    return None


def forget_after(folder: Path, step: int) -> None:
    """Delete what a lost attempt wrote after this step, temporary files too, and set the links
    anew.
    """
    for kind in ("step", "best"):
        for checkpoint in listed(folder, kind):
            if checkpoint.step > step:
                _delete(checkpoint)
        kept = listed(folder, kind)
        link = folder / f"{'last' if kind == 'step' else 'best'}.ckpt"
        if kept:
            _link(link, kept[-1].path)
        else:
            link.unlink(missing_ok=True)
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def prune(folder: Path) -> None:
    """Delete all but the newest two checkpoints to go on from, and all but their best ones and the
    newest best.
    """
    resumable, best = listed(folder, "step"), listed(folder, "best")
    for checkpoint in resumable[:-_KEPT]:
        _delete(checkpoint)
    needed = {max((b for b in best if b.step <= kept.step), default=None) for kept in resumable[-_KEPT:]}
    for checkpoint in best[:-1]:
        if checkpoint not in needed:
            _delete(checkpoint)


class _Hashing:
    """A file that is written from beginning to end, and the SHA-256 of what passed.

    A full disk is told afterwards: torch's C++ writer turns an exception in the middle into an
    error of its own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._problem: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._problem is None:
            self._hash.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self._problem = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """What the buffer holds is flushed at the end."""

    def raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_checksum(checkpoint: Checkpoint, digest: str) -> None:
    temporary = checkpoint.checksum_file.with_name(f".{checkpoint.checksum_file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(f"{digest}  {checkpoint.path.name}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, checkpoint.checksum_file)
    except OSError:
        # The checkpoint itself is whole and in place; without its checksum the archive's own are
        # used.
        temporary.unlink(missing_ok=True)


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.symlink(target.name, temporary)
        except OSError:  # a file system without links
            shutil.copy2(target, temporary)
        os.replace(temporary, link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _delete(checkpoint: Checkpoint) -> None:
    checkpoint.path.unlink(missing_ok=True)
    checkpoint.checksum_file.unlink(missing_ok=True)
