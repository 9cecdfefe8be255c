"""Copying a data file, and the files that it links to, with checksums."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.data.staging.scratch import NotStaged
from hpc_dl.data.storage.checksum import file_checksum
from hpc_dl.data.storage.dependencies import files_behind
from hpc_dl.regular_files import read_json

_BLOCK_BYTES = 8 << 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class SourceFile:
    """A file to copy.

    Attributes:
        path: the original.
        name: its path in the copy, from which links lead to the same files as from the original.
        num_bytes: its size.
        modified: time of its last change in ns.
    """

    path: Path
    name: str
    num_bytes: int
    modified: int


@dataclass(frozen=True)
class CopyTimes:
    """What making a copy took.

    Attributes:
        num_bytes: size of all files.
        seconds: from the first byte to the verified copy.
        original_s: spent in reading the originals once.
        copy_s: spent in reading the copies once.
    """

    num_bytes: int
    seconds: float
    original_s: float
    copy_s: float


def source_files(file: Path) -> tuple[SourceFile, ...]:
    """Return a data file, the first, and the files in its folder that HDF5 opens besides it.

    Files outside of its folder are left out, since no data set may use them.

    Raises:
        NotStaged: one of them cannot be read; opening the original reports that better.
    """
    folder = os.path.dirname(os.path.realpath(file))
    found = []
    try:
        main, *others = files_behind(file)
        for path in (main, *others):
            name = main.name if path == main else os.path.relpath(path, folder)
            if not name.startswith(".."):
                status = path.stat()
                found.append(SourceFile(path, name, status.st_size, status.st_mtime_ns))
    except (OSError, RuntimeError, LookupError, ValueError):
        raise NotStaged.at(file, "cannot be read") from None
    return tuple(found)


def copy_name(files: Sequence[SourceFile]) -> str:
    """Return the name of the copy: from content, size and time of the files.

    Also from the start of the node: a node that crashed may have lost a part of a copy.
    """
    digest = hashlib.sha256(_BOOT.read_bytes() if _BOOT.exists() else b"")
    for file in files:
        facts = (file.name, file.num_bytes, file.modified, file_checksum(file.path))
        digest.update("\0".join(map(str, facts)).encode() + b"\0")
    return digest.hexdigest()[:32]


def copy_files(files: Sequence[SourceFile], folder: Path, advanced: Callable[[int], None]) -> CopyTimes:
    """Copy files into a folder that does not exist yet, and compare checksums.

    Args:
        files: of :func:`source_files`.
        folder: gets the files in ``data``, and what :func:`read_facts` returns.
        advanced: called after each block, with the bytes copied so far; may raise NotStaged.

    Raises:
        NotStaged: the copy differs, or the original changed meanwhile, or refers to its other files
            in a way that does not lead into the copy.
        OSError: a file cannot be read or written; there is no space left.
    """
    started = time.perf_counter()
    data = folder.resolve() / "data"
    done, original_s, copy_s = 0, 0.0, 0.0
    for file in files:
        of_source, of_copy = _copy(file, data / file.name, lambda num_bytes, before=done: advanced(before + num_bytes))  # type: ignore[misc]
        done, original_s, copy_s = done + file.num_bytes, original_s + of_source, copy_s + of_copy
    if len(files) > 1:
        _check_links(files, data)
    times = CopyTimes(done, time.perf_counter() - started, original_s, copy_s)
    facts = {"files": {file.name: file.num_bytes for file in files}, "times": asdict(times)}
    write_json(folder / "copy.json", facts | {"source": str(files[0].path)})
    return times


def read_facts(folder: Path) -> CopyTimes | None:
    """Return what making a copy took; ``None`` if it is not complete."""
    try:
        facts: dict[str, Any] = read_json(folder / "copy.json") or {}
        sizes = {name: (folder / "data" / name).stat().st_size for name in facts["files"]}
        return CopyTimes(**facts["times"]) if sizes == facts["files"] else None
    except (OSError, ValueError, LookupError, TypeError):  # partly deleted, as by a program that cleans /tmp
        return None


def _copy(file: SourceFile, target: Path, advanced: Callable[[int], None]) -> tuple[float, float]:
    """Copy one file, and return the seconds of reading the original and the copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(file.path, "rb", buffering=0) as source, open(target, "xb", buffering=0) as copy:

        def write(block: memoryview) -> None:
            while block:
                block = block[copy.write(block) :]
            advanced(copy.tell())

        expected, original_s = _read(source, write)
        status = os.fstat(source.fileno())
    if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.modified):
        raise NotStaged.at(file.path, "was changed while it was being copied")
    with open(target, "rb", buffering=0) as copy:
        actual, copy_s = _read(copy, lambda block: advanced(file.num_bytes))
    if actual != expected:
        raise NotStaged.at(target, "differs from the original after it was copied")
    os.chmod(target, 0o400)
    return original_s, copy_s


def _read(file: RawIOBase, use: Callable[[memoryview], None]) -> tuple[str, float]:
    """Read a file to its end; return its checksum and the seconds spent in reading alone."""
    digest, seconds = hashlib.sha256(), 0.0
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    while True:
        started = time.perf_counter()
        num_bytes = file.readinto(buffer)
        seconds += time.perf_counter() - started
        if not num_bytes:
            return digest.hexdigest(), seconds
        digest.update(buffer[:num_bytes])
        use(buffer[:num_bytes])


def _check_links(files: Sequence[SourceFile], data: Path) -> None:
    """Check that the copied file leads to the copies of the others; paths may be absolute."""
    main, *others = files
    reached = files_behind(data / main.name)
    for other in others:
        if data / other.name not in reached:
            problem = "refers to another file by a path that does not lead to its copy"
            raise NotStaged.at(main.path, problem, value=other.name)
