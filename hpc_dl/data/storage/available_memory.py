"""How much memory a job may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_PROCESS = Path("/proc/self/cgroup")


def stays_in_memory(num_bytes: int) -> bool:
    """Whether the system can keep so many bytes of a file in memory, and has as much again for all
    else.
    """
    return num_bytes <= memory_at_hand() / 2


def memory_at_hand() -> float:
    """Bytes that this process's job could fill; what the system keeps of files would make way for
    them.

    The least of what the machine has and what is left in each control group that the process is in:
    Slurm makes one for each job, as large as ``resources.memory``.
    """
    return min(float(psutil.virtual_memory().available), *_of_groups(), float("inf"))


def _of_groups() -> Iterator[float]:
    with suppress(OSError):
        for line in _PROCESS.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if not controllers:
                # Version 2: the limit of any group above holds, too.
                group = _CGROUPS / place.lstrip("/")
                for folder in (group, *group.parents):
                    if folder == _CGROUPS.parent:
                        break
                    with suppress(OSError, ValueError, KeyError):
                        limit = float((folder / "memory.max").read_text().replace("max", "inf"))
                        yield limit - _numbers(folder / "memory.stat")["anon"]
            elif "memory" in controllers.split(","):
                with suppress(OSError, ValueError, KeyError):
                    found = _numbers(_CGROUPS / "memory" / place.lstrip("/") / "memory.stat")
                    yield float(found["hierarchical_memory_limit"] - found["total_rss"])


def _numbers(path: Path) -> dict[str, int]:
    """A file of lines with a name and a number."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if len(words := line.split()) > 1}
