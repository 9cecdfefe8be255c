"""The memory that the process may still use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_PROCESS = Path("/proc/self/cgroup")


def stays_in_memory(num_bytes: int) -> bool:
    """Whether the page cache can keep a file of this size and leave as much for the rest."""
    return num_bytes <= available_bytes() / 2


def available_bytes() -> float:
    """Return the bytes that this process's job could still use, including reclaimable page cache.

    This is the minimum over the machine and each control group of the process. Slurm creates one
    per job, limited to ``resources.memory``.
    """
    return min(float(psutil.virtual_memory().available), *_control_group_bytes(), float("inf"))


def _control_group_bytes() -> Iterator[float]:
    with suppress(OSError):
        for line in _PROCESS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                # Version 2: the limits of all parent groups apply, too.
                group = _CGROUPS / path.lstrip("/")
                for folder in (group, *group.parents):
                    if folder == _CGROUPS.parent:
                        break
                    with suppress(OSError, ValueError, KeyError):
                        limit = float((folder / "memory.max").read_text().replace("max", "inf"))
                        yield limit - _numbers(folder / "memory.stat")["anon"]
            elif "memory" in controllers.split(","):
                with suppress(OSError, ValueError, KeyError):
                    stat = _numbers(_CGROUPS / "memory" / path.lstrip("/") / "memory.stat")
                    yield float(stat["hierarchical_memory_limit"] - stat["total_rss"])


def _numbers(path: Path) -> dict[str, int]:
    """Read a file of lines that each hold a name and a number."""
    lines = map(str.split, path.read_text().splitlines())
    return {columns[0]: int(columns[1]) for columns in lines if len(columns) > 1}
