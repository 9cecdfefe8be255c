"""The process of a run on this machine: whether it is alive, and how it is stopped."""

from __future__ import annotations

from typing import Any

import psutil

_STOP_S = 30.0  # for the current step and the checkpoint; Slurm's default KillWait is the same


def process_of(job: dict[str, Any]) -> psutil.Process | None:
    """The process of a job on this machine; ``None`` if it has ended, even if its id is reused."""
    try:
        process = psutil.Process(job["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if abs(process.create_time() - job["process_started"]) < 1 else None
    except psutil.NoSuchProcess:
        return None


def stop(process: psutil.Process) -> None:
    """Send SIGTERM, which is forwarded to all ranks; later kill whatever is still running."""
    family = [process, *process.children(recursive=True)]
    try:
        process.terminate()
        process.wait(_STOP_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        for member in family:
            if member.is_running():
                member.kill()
