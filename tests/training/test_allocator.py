"""Freed memory stays with the process."""

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
    assert keep_freed_memory() is {done}
faults = []
for _ in range(10):
    arrays = [np.ones(3_000_000) for _ in range(4)]
    del arrays
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[1])
"""


def faults(keep: bool, done: bool = True, **environment: str) -> int:
    """Pages that the system has cleared for the later ones of some equal steps."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(keep=keep, done=done)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return int(ended.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc here")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    without, kept = faults(keep=False), faults(keep=True)
    assert without > 10_000 > 100 * kept


def test_the_users_own_settings_are_left_alone() -> None:
    assert faults(keep=True, done=False, MALLOC_TOP_PAD_="65536") > 10_000
