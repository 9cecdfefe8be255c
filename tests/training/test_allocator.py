"""Freed memory stays in the process."""

import ctypes
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import numpy as np
from hpc_dl.training.allocator import keep_freed_memory

if {keep}:
    assert keep_freed_memory() is {configured}
faults = []
for _ in range(10):
    arrays = [np.ones(3_000_000) for _ in range(4)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[1])
"""


def page_faults(keep: bool, configured: bool = True, **environment: str) -> int:
    """The number of pages that the system cleared for eight steps, after two steps of warm-up."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(keep=keep, configured=configured)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(process.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_steps_reuse_freed_memory() -> None:
    default, kept = page_faults(keep=False), page_faults(keep=True)
    assert default > 10_000 > 100 * kept


def test_user_settings_take_precedence() -> None:
    assert page_faults(keep=True, configured=False, MALLOC_TOP_PAD_="65536") > 10_000
