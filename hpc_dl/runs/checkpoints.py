"""The checkpoint files of a run, written so that a kill never damages the previous checkpoint.

::

    checkpoints/
      step-00000400.ckpt           to resume from; the newest two are kept
      step-00000400.ckpt.sha256    its checksum, for `sha256sum --check`
      best-00000350.ckpt           the best weights so far, and those of the older step-*.ckpt
      last.ckpt, best.ckpt         links to the newest of each

The number is the count of optimizer steps done. The best weights as of a step are therefore the
``best-*`` file with the highest number up to that step, and every file with a higher number than
the checkpoint that a run resumes from belongs to an attempt that was lost. Imports no torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from hpc_dl.atomic_files import fsync, write_text

Kind = Literal["step", "best"]

_NAME = re.compile(r"(?P<kind>step|best)-(?P<step>\d{8,})\.ckpt")
_CHECKSUM = re.compile(rb"([0-9a-f]{64})  \S+\n")
_KEPT = 2


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint file.

    Attributes:
        step: optimizer steps done.
        path: the file.
    """

    step: int
    path: Path

    @property
    def checksum_file(self) -> Path:
        """The file with the SHA-256 checksum, in sha256sum's format."""
        return self.path.with_name(f"{self.path.name}.sha256")


def at(folder: Path, kind: Kind, step: int) -> Checkpoint:
    """The checkpoint of a step, whether or not it exists."""
    return Checkpoint(step, folder / f"{kind}-{step:08d}.ckpt")


def listed(folder: Path, kind: Kind) -> list[Checkpoint]:
    """Return the checkpoints of one kind, oldest first, without verifying them."""
    checkpoints = []
    for path in folder.glob(f"{kind}-*.ckpt") if folder.is_dir() else ():
        if (match := _NAME.fullmatch(path.name)) is not None:
            checkpoints.append(Checkpoint(int(match["step"]), path))
    return sorted(checkpoints)


def write(folder: Path, kind: Kind, step: int, save: Callable[[BinaryIO], None]) -> Checkpoint:
    """Write a checkpoint, verify it, then move it to its place.

    Args:
        folder: the run's checkpoint folder.
        kind: ``step`` to resume from, ``best`` to keep.
        step: optimizer steps done.
        save: writes the content sequentially into the file that it is given.

    Raises:
        OSError: the disk is full or unavailable, or returns other bytes than were written. The new
            file is deleted then, and earlier checkpoints are untouched.
    """
    checkpoint = at(folder, kind, step)
    temporary = folder / f".{checkpoint.path.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            hashing = _HashingFile(file)
            save(hashing)  # type: ignore[arg-type]
            hashing.raise_error()
            file.flush()
            os.fsync(file.fileno())
        digest = hashing.hexdigest()
        if _sha256(temporary) != digest:
            raise OSError(f"{temporary} does not contain what was written to it")
        # In this order, so that a kill in between leaves an intact checkpoint without a checksum,
        # never one with a wrong checksum.
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
    """Describe what is wrong with a checkpoint file; empty if it is intact."""
    try:
        recorded = _CHECKSUM.fullmatch(checkpoint.checksum_file.read_bytes())
    except OSError:
        recorded = None
    try:
        if recorded:
            return "" if _sha256(checkpoint.path) == recorded[1].decode() else "its content does not match its checksum"
        # The writer was killed before it wrote the checksum, or the checksum file is damaged.
        # torch's files are zip archives, which contain checksums as well.
        with zipfile.ZipFile(checkpoint.path) as archive:
            return "" if archive.testzip() is None else "its content is damaged"
    except Exception as error:  # what zipfile raises depends on which byte is wrong
        return f"it cannot be read: {error}"


def newest_intact(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint to resume from; damaged ones are renamed and reported.

    Args:
        folder: the run's checkpoint folder.
        say: prints one line for the user.
    """
    candidates = listed(folder, "step")
    while candidates:
        checkpoint = candidates.pop()
        problem = problem_of(checkpoint)
        if not problem:
            return checkpoint
        fallback = "the previous one is used" if candidates else "there is no other: the training starts over"
        say(f"{checkpoint.path} is damaged ({problem}): it was renamed to *.damaged, and {fallback}")
        os.replace(checkpoint.path, checkpoint.path.with_name(f"{checkpoint.path.name}.damaged"))
        checkpoint.checksum_file.unlink(missing_ok=True)
    return None


def delete_after(folder: Path, step: int) -> None:
    """Delete the files of later steps and temporary files, and update the links.

    Args:
        folder: the run's checkpoint folder.
        step: the step that the run resumes from; a lost attempt wrote everything after it.
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
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def prune(folder: Path) -> None:
    """Keep the newest two checkpoints to resume from, their best weights, and the newest best."""
    resumable, best = listed(folder, "step"), listed(folder, "best")
    for checkpoint in resumable[:-_KEPT]:
        _delete(checkpoint)
    needed = {max((b for b in best if b.step <= kept.step), default=None) for kept in resumable[-_KEPT:]}
    for checkpoint in best[:-1]:
        if checkpoint not in needed:
            _delete(checkpoint)


class _HashingFile:
    """A file to write sequentially, with the SHA-256 of everything written.

    An error of the disk is kept until the end, because torch's C++ writer would replace an
    exception by a less informative one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            self._hash.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: the file is flushed once, at the end."""

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_checksum(checkpoint: Checkpoint, digest: str) -> None:
    # An OSError is harmless: the checkpoint itself is intact and in its place, and without this
    # file the checksums inside the archive are used.
    with suppress(OSError):
        write_text(checkpoint.checksum_file, f"{digest}  {checkpoint.path.name}\n")


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.symlink(target.name, temporary)
        except OSError:  # a file system without symbolic links
            shutil.copy2(target, temporary)
        os.replace(temporary, link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _delete(checkpoint: Checkpoint) -> None:
    checkpoint.path.unlink(missing_ok=True)
    checkpoint.checksum_file.unlink(missing_ok=True)
