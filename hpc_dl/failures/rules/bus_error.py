"""A mapped file was shortened or its disk failed while it was read (SIGBUS)."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class BusError(Rule):
    """What the launcher, srun or Python say about SIGBUS."""

    patterns = (
        r"SIGBUS",
        r"srun: error: .*: Bus error",
        r"Fatal Python error: Bus error",
        r"^State=FAILED ExitCode=(?:0:7|135:0)\b",
    )
    cause = (
        "a rank ended with a bus error: a data file was shortened or replaced while it was read, its "
        "disk failed, or /dev/shm is full"
    )
    remedy = (
        "check the file with `hpc-dl data verify FILE`, and do not overwrite it while runs read it "
        "(write a new one and rename it)"
    )
    keys = ("data.file",)
