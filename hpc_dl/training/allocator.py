"""Settings of glibc's malloc that keep freed memory in the process, for the next training step."""

from __future__ import annotations

import ctypes
import os

# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 1 << 30
_LARGEST_IN_OLD_GLIBC = 32 << 20
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep glibc's malloc from returning memory to the system; without glibc, do nothing.

    Each step of a CPU training frees megabytes of activations that the next step allocates again.
    By default malloc returns them, and the system has to clear the same pages for each step, which
    takes a tenth of a CNN's time on Fashion-MNIST (decision 041). The price: the process keeps its
    peak memory until it ends.

    Returns:
        Whether malloc was configured; False if the user's environment already configures it.
    """
    if any(name in os.environ for name in _USER_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_M_TRIM_THRESHOLD, _LARGEST)
    return bool(kept and (mallopt(_M_MMAP_THRESHOLD, _LARGEST) or mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_OLD_GLIBC)))
