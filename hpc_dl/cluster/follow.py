"""Following a run to its end: its log as it is written, its state as it changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc_dl.cluster.status import SILENCE, log_of, status
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import ENDED, read_state

_LOOK_S = 0.3
_ASK_S = 5.0  # the controller serves everybody: it is asked seldom, the run's own files often


class LogReader:
    """Reads what was appended to a file since the last look, whole lines only."""

    def __init__(self, path: Path) -> None:
        """Begin at the start of the file, which need not exist yet."""
        self._path = path
        self._offset = 0
        self._torn = b""

    def lines(self) -> list[str]:
        """The lines that are complete now and were not returned yet, without their line ends."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                read = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(read)
        *whole, self._torn = (self._torn + read).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def rest(self) -> list[str]:
        """What is left at the end: also a last line that nobody ended."""
        lines = self.lines()
        return [*lines, self._torn.decode(errors="replace")] if self._torn else lines


def watch(run: RunFolder, rank: int = 0, *, from_now: bool = False) -> Iterator[str | dict[str, Any]]:
    """Follow a run until it ends, also when it is requeued on the way.

    Args:
        run: the run.
        rank: whose log to follow.
        from_now: leave out what the log has already.

    Yields:
        The log's lines as strings, and the run's status (see ``hpc_dl.cluster.status``) at first
        and whenever its state or its reason changed. The last status is that of the ended run.
    """
    log = LogReader(run.log(rank))
    if from_now:
        log.rest()
    told: tuple[Any, Any] | None = None
    ask_at = 0.0
    own = ""
    while True:
        yield from log.lines()
        now, changed = time.monotonic(), own != (own := read_state(run)["state"])
        if changed or now >= ask_at:
            ask_at = now + _ASK_S
            seen = status(run)
            if seen["state"] in ("lost", "stopped"):
                # On a shared file system the last word of the job may be seconds behind Slurm's.
                time.sleep(_ASK_S)
                seen = status(run)
            ended = seen["state"] in ENDED and seen.get("reason") != SILENCE
            if ended:
                yield from _last_lines(run, rank, log)
            if ended or told != (seen["state"], seen.get("reason")):
                told = (seen["state"], seen.get("reason"))
                yield seen
            if ended:
                return
        time.sleep(_LOOK_S)


def _last_lines(run: RunFolder, rank: int, log: LogReader) -> list[str]:
    if run.log(rank).exists():
        return log.rest()
    early = log_of(run, rank)  # it ended before the rank began: what Slurm or Python said is all there is
    return LogReader(early).rest() if early else []
