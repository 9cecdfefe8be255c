"""An attempt of a run as seen from outside: its processes and its progress."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.soak.processes import start_fork, start_program
from benchmarks.soak.runs import world_size
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder

TIMEOUT_S = 120.0  # for an attempt to end; the longest takes seconds


class Attempt:
    """One attempt of a run.

    Attributes:
        run: its folder.
        number: from 0.
        cold: whether it was started as a new program.
        started: time of its start, by ``time.monotonic``.
        pid: of the launcher.
        status: exit status of the launcher, negative after a signal; ``None`` while it runs.
    """

    def __init__(self, run: RunFolder, number: int = 0, *, cold: bool = False) -> None:
        """Start the launcher in its own session; every rank leads a process group in it."""
        self.run = run
        self.number = number
        self.cold = cold
        self.started = time.monotonic()
        self.status: int | None = None
        self._earlier_journals = set(run.journal.glob("attempt-*.jsonl"))
        self._num_earlier_starts = len(_starts(run))
        self._journal: Path | None = None
        self._journal_offset = 0
        self._last_step = 0
        self.pid = start_program(run) if cold else start_fork(run)

    def is_running(self) -> bool:
        """Whether the launcher runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self, seconds: float = TIMEOUT_S) -> None:
        """Wait until launcher and ranks have ended; kill what else is left of the session.

        Raises:
            TimeoutError: they did not end in time; they are killed by then.
        """
        deadline = time.monotonic() + seconds
        while self.is_running() or any(map(_leads_group, self.processes())):
            if time.monotonic() > deadline:
                remaining = [f"{process.pid} ({process.status()})" for process in self.processes()]
                self.kill()
                raise TimeoutError(f"did not end within {seconds:.0f} s; still alive: {', '.join(remaining)}")
            time.sleep(0.005)
        self.kill()

    def kill(self) -> None:
        """Kill all processes of the session."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while self.is_running():
                time.sleep(0.001)

    def processes(self) -> list[psutil.Process]:
        """Return all live processes of the session."""
        alive = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def ranks(self) -> list[psutil.Process]:
        """Return the live processes of the ranks; a single rank is the launcher itself."""
        with suppress(psutil.NoSuchProcess):
            launcher = psutil.Process(self.pid)
            return [launcher] if world_size(self.run) == 1 else _alive(launcher.children())
        return []

    @property
    def from_step(self) -> int | None:
        """The step from which it resumed; ``None`` before it has recorded that."""
        starts = _starts(self.run)[self._num_earlier_starts :]
        return int(starts[-1]["from_step"]) if starts else None

    def last_step(self) -> int:
        """Return the last step in the journal; 0 before the first."""
        if self._journal is None:
            journals = set(self.run.journal.glob("attempt-*.jsonl")) - self._earlier_journals
            self._journal = next(iter(journals), None)
        if self._journal is not None:
            with self._journal.open("rb") as file:
                file.seek(self._journal_offset)
                new = file.read()
            complete_lines = new[: new.rfind(b"\n") + 1]
            for line in complete_lines.splitlines():
                self._last_step = max(self._last_step, json.loads(line).get("step", 0))
            self._journal_offset += len(complete_lines)
        return self._last_step


def _starts(run: RunFolder) -> list[dict[str, Any]]:
    return [event for event in attempts.history(run) if event["event"] == "started"]


def _leads_group(process: psutil.Process) -> bool:
    """Whether it leads its process group, as launcher and ranks do."""
    with suppress(ProcessLookupError):
        return os.getpgid(process.pid) == process.pid
    return False


def _alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive
