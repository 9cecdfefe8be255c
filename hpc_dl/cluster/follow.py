"""Following a run until it ends: its log lines as they are written, its status when it changes."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_dl.cluster.status import NO_RESPONSE, log_of, status, statuses
from hpc_dl.regular_files import DamagedFile, check_regular
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import ENDED, read_state

_POLL_FILES_S = 0.3
_POLL_SLURM_S = 5.0  # rarely: all users share the controller
_POLL_MANY_S = 1.0
# On a shared file system a job's last state may arrive seconds after Slurm's, and a server may be
# away for moments: a second look decides.
_DOUBTFUL = ("lost", "stopped", "unreadable")
# What a file system leaves that crashed before it wrote the data: up to the whole file.
_HOLE = re.compile(rb"\0{16,}")


class LogReader:
    """A reader of the lines that are appended to a file."""

    def __init__(self, path: Path, most: int | None = None) -> None:
        """Start at the beginning of the file, which need not exist yet.

        Args:
            path: the file.
            most: the number of bytes to read from the end of a larger file; ``None`` for all.
        """
        self._path = path
        self._offset = 0
        if most is not None:
            with suppress(FileNotFoundError):
                self._offset = max(0, path.stat().st_size - most)
        self._incomplete_line = b""

    def lines(self) -> list[str]:
        """Return the complete lines added since the last call, without their line ends.

        Raises:
            DamagedFile: it is not a regular file.
            OSError: it cannot be read.
        """
        try:
            with open(self._path, "rb", opener=_open_at_once) as file:
                check_regular(self._path, os.fstat(file.fileno()))
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        except IsADirectoryError:
            raise DamagedFile.at(self._path, "is a folder, not a file") from None
        self._offset += len(content)
        *complete, self._incomplete_line = (self._incomplete_line + content).split(b"\n")
        return list(map(_text, complete))

    def remaining_lines(self) -> list[str]:
        """Return all lines added since the last call, including an incomplete last line."""
        lines = self.lines()
        return [*lines, _text(self._incomplete_line)] if self._incomplete_line else lines


def _text(line: bytes) -> str:
    """The line as it is on a terminal in the end: after each carriage return it starts over."""
    line = _HOLE.sub(lambda hole: b"[%d null bytes]" % len(hole[0]), line)
    return line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO without a writer would wait forever


def follow_run(run: RunFolder, rank: int = 0, *, from_now: bool = False) -> Iterator[str | dict[str, Any]]:
    """Follow a run until it ends, also through requeues.

    Args:
        run: the run.
        rank: the rank whose log to follow.
        from_now: whether to skip what the log already contains.

    Yields:
        The lines of the log (strings), and the run's status (see ``hpc_dl.cluster.status``), first
        and whenever its state or reason changes. The last status is that of the ended run.
    """
    log = LogReader(run.log(rank))
    if from_now:
        log.remaining_lines()
    last_yielded: tuple[Any, Any] | None = None
    next_query = 0.0
    own_state = ""
    while True:
        yield from log.lines()
        now, changed = time.monotonic(), own_state != (own_state := read_state(run)["state"])
        if changed or now >= next_query:
            next_query = now + _POLL_SLURM_S
            facts = status(run)
            if facts["state"] in _DOUBTFUL:
                time.sleep(_POLL_SLURM_S)
                facts = status(run)
            ended = has_ended(facts)
            if ended:
                yield from _last_lines(run, rank, log)
            if ended or last_yielded != (facts["state"], facts.get("reason")):
                last_yielded = (facts["state"], facts.get("reason"))
                yield facts
            if ended:
                return
        time.sleep(_POLL_FILES_S)


def wait_for(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Wait until several runs have ended, also through requeues.

    Returns:
        Their status; see ``hpc_dl.cluster.status``.
    """
    return deque(follow_runs(runs), maxlen=1).pop()


def follow_runs(runs: Sequence[RunFolder]) -> Iterator[list[dict[str, Any]]]:
    """Follow several runs until all have ended, also through requeues.

    Yields:
        Their status, whenever it was asked for; see ``hpc_dl.cluster.status``.
    """
    own_states: list[str] = []
    doubtful: set[int] = set()
    next_query = 0.0
    while True:
        now, changed = time.monotonic(), own_states != (own_states := [read_state(run)["state"] for run in runs])
        if changed or now >= next_query:
            next_query = now + _POLL_SLURM_S
            facts = statuses(runs)
            before, doubtful = doubtful, {i for i, row in enumerate(facts) if row["state"] in _DOUBTFUL}
            if doubtful - before:
                time.sleep(_POLL_SLURM_S)  # as in follow_run
                facts = statuses(runs)
            yield facts
            if all(map(has_ended, facts)):
                return
        time.sleep(_POLL_MANY_S)


def has_ended(facts: dict[str, Any]) -> bool:
    """Whether a run has ended, and Slurm did respond; or nothing will tell when it does.

    That is so for a run that was never launched, and for one whose folder is unreadable.
    """
    if facts["state"] in ENDED:
        return facts.get("reason") != NO_RESPONSE
    return facts["state"] == "unreadable" or (facts["state"] == "created" and not facts["job"])


def _last_lines(run: RunFolder, rank: int, log: LogReader) -> list[str]:
    if run.log(rank).exists():
        return log.remaining_lines()
    job_output = log_of(run, rank)  # the job ended before the rank started
    return LogReader(job_output).remaining_lines() if job_output else []
