"""Memory that a training step has freed stays with the process, for the next step."""

from __future__ import annotations

import ctypes
import os

# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 30
_LARGEST_OF_OLD_GLIBC = 32 << 20
_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Have glibc's malloc give nothing back to the system; nothing is done where there is no glibc.

    Activations of a CPU training are megabytes that each step frees and the next one wants again.
    Left alone, malloc gives them back, and the system clears the same pages for each step anew: a
    tenth of a CNN's time on Fashion-MNIST (docs/benchmarks.md). What the process holds at its peak
    it then holds to its end.

    Returns:
        Whether it was done; not where the user's environment tells malloc what to do.
    """
    if any(name in os.environ for name in _OWN):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    return bool(kept and (mallopt(_M_MMAP_THRESHOLD, _LARGEST) or mallopt(_M_MMAP_THRESHOLD, _LARGEST_OF_OLD_GLIBC)))
