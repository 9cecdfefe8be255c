"""The memory of the Slurm job on this node, from its cgroup (version 1 or 2)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

# Memory that the kernel cannot take back; the cache of files would look like need.
_OF_VERSION_2 = ("anon", "shmem", "kernel_stack", "slab_unreclaimable")
_OF_VERSION_1 = ("total_rss", "total_shmem")


def job_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return the memory of the job without the cache of files; ``None`` outside of a job's cgroup.

    Slurm puts a job into ``…/job_N/step_M/…`` where its cgroup plugins are on. It counts the whole
    job on this node, all ranks and the batch script, as the limit of ``--mem`` does.

    Args:
        root: the root of the file system.
    """
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            job = _job_of(path)
            if job is None or controllers not in ("", "memory"):
                continue
            mounted, names = ("memory", _OF_VERSION_1) if controllers else ("", _OF_VERSION_2)
            with suppress(OSError, ValueError):
                content = (root / "sys/fs/cgroup" / mounted / job / "memory.stat").read_text()
                sizes = dict(entry.split() for entry in content.splitlines())
                return sum(int(sizes.get(name, 0)) for name in names)
    return None


def _job_of(path: str) -> str | None:
    """The part of a cgroup's path up to the job."""
    parts = PurePosixPath(path).parts
    number = next((number for number, part in enumerate(parts) if part.startswith("job_")), None)
    return None if number is None else str(PurePosixPath(*parts[: number + 1])).lstrip("/")
