"""The progress of ``hpc-dl data pack``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from hpc_dl.cli.output import say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SECONDS_BETWEEN_LINES = 10
_STAGES = {
    "pack": "packing",
    "checksum": "computing the checksum",
    "verify": "verifying",
    "speed": "measuring the speed",
}


class ProgressReport:
    """Progress on stderr: a bar on a terminal, otherwise a line at intervals."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line_at = 0.0

    def __enter__(self) -> ProgressReport:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report the progress of a stage.

        Args:
            stage: a key of ``_STAGES``.
            done: number of processed samples.
            total: number of all samples; 0 if the stage has no progress.
        """
        is_new, self._stage = stage != self._stage, stage
        if self._bar is not None:
            if is_new:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(_STAGES[stage])
            assert self._task is not None
            self._bar.update(self._task, completed=done, total=total or None)
        elif is_new or done == total or time.monotonic() - self._last_line_at > _SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            say(f"{_STAGES[stage]}" + (f": {done:,} of {total:,} samples ({done / total:.0%})" if total else ""))
