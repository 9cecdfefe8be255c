"""The space that the parts of a run occupy on the disk. Free of torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.runs.folder import RunFolder

#: What the files of a run are for.
KINDS = ("checkpoints", "code", "W&B", "logs", "figures", "other")
_KIND_OF = {
    "checkpoints": "checkpoints",
    "wandb": "W&B",
    "logs": "logs",
    "submitit": "logs",
    "figures": "figures",
    "frames.h5": "figures",
}
_BLOCK_BYTES = 512  # the unit of st_blocks


@dataclass(frozen=True)
class DiskUsage:
    """What some files occupy.

    Attributes:
        bytes: on the disk, in whole blocks.
        files: how many.
    """

    bytes: int = 0
    files: int = 0

    def __add__(self, other: DiskUsage) -> DiskUsage:
        return DiskUsage(self.bytes + other.bytes, self.files + other.files)


def usage_of_run(run: RunFolder, seen: set[tuple[int, int]]) -> dict[str, DiskUsage]:
    """Return what a run occupies by :data:`KINDS`; what may not be read is left out.

    Args:
        run: the run.
        seen: files with several names that were counted already, as device and inode; extended.
    """
    total = dict.fromkeys(KINDS, DiskUsage())
    for entry in _entries(run.path):
        kind = _KIND_OF.get(entry.name, "code" if entry.name.startswith("code") else "other")
        total[kind] += _usage_of(entry, seen)
    return total


def usage_of_folder(folder: Path, seen: set[tuple[int, int]]) -> DiskUsage:
    """Return what a folder occupies, and all below it; what may not be read is left out.

    Args:
        folder: may not exist.
        seen: as for :func:`usage_of_run`.
    """
    return sum((_usage_of(entry, seen) for entry in _entries(folder)), DiskUsage())


def _usage_of(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> DiskUsage:
    with suppress(OSError):
        facts = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            return usage_of_folder(Path(entry.path), seen)
        name = (facts.st_dev, facts.st_ino)
        if facts.st_nlink > 1 and name in seen:
            return DiskUsage()
        seen.add(name)
        return DiskUsage(_BLOCK_BYTES * facts.st_blocks, 1)
    return DiskUsage()


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from entries
