"""What an attempt spent its time on: one small file per start, in the folder ``usage`` of a run.

Rank 0 replaces its file every few seconds, so that an attempt that is killed leaves one behind.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder

#: What an attempt does, in the order of a report.
PHASES = ("training", "data", "validation", "checkpoints", "start_up", "restoring", "end")

_NAME = re.compile(r"start-([0-9]{1,9})\.json")


@dataclass(frozen=True)
class PhaseTimes:
    """What an attempt has spent its time on so far. Moments are in seconds since the Unix epoch.

    Attributes:
        start: number of the start, from 0. An attempt that is killed before it has logged anything
            does not count as an attempt: the next one has the same number.
        attempt: number of the attempt, from 0.
        job: the Slurm job as Slurm names it; empty outside of one.
        allocated: when Slurm started the job; ``None`` if it did not say so (before Slurm 23.02).
        started: when the process of rank 0 started.
        time: when this was written.
        from_step: the step from which the attempt resumed; ``None`` if it is not that far.
        phase: what it was doing then, one of :data:`PHASES`.
        seconds: the time spent in each phase, from ``started`` to ``time``.
        saved: for the newest checkpoints, the step, and the seconds of training and of waiting for
            data until then.
    """

    start: int
    attempt: int
    job: str
    allocated: float | None
    started: float
    time: float
    from_step: int | None
    phase: str
    seconds: dict[str, float]
    saved: tuple[tuple[int, float, float], ...]

    def write(self, folder: Path) -> None:
        """Replace the file of the attempt.

        Without fsync: a crash of the node may lose the last seconds, and nothing depends on them.

        Raises:
            OSError: the disk is full or unavailable.
        """
        folder.mkdir(exist_ok=True)
        name = f"start-{self.start:03d}.json"
        new = folder / f".{name}"
        new.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        new.replace(folder / name)


def read_phase_times(folder: Path) -> list[PhaseTimes]:
    """Return the times of a run's attempts, oldest first; damaged files are skipped.

    Args:
        folder: the folder ``usage`` of a run; may not exist.
    """
    found = []
    for path in folder.glob("start-*.json") if folder.is_dir() else ():
        if _NAME.fullmatch(path.name):
            with suppress(HpcDlError, OSError, LookupError, TypeError, ValueError, AttributeError):
                found.append(_checked(read_json(path)))
    return sorted(found, key=lambda times: times.start)


def number_of_starts(folder: Path) -> int:
    """Return how many files there are, damaged ones included."""
    return sum(1 for path in folder.glob("start-*.json")) if folder.is_dir() else 0


def recorded_ends(run: RunFolder, starts: Sequence[PhaseTimes]) -> list[dict[str, Any] | None]:
    """Return what each start recorded at its end; ``None`` if it was killed, or is running.

    Args:
        run: the run.
        starts: oldest first.
    """
    ended = {event.get("attempt"): event for event in attempts.history(run) if event["event"] == "ended"}
    # Of several starts with the number of one attempt, only the last can have recorded an end.
    later = [*(times.attempt for times in starts[1:]), None]
    return [
        None if times.attempt == following else ended.get(times.attempt)
        for times, following in zip(starts, later, strict=False)
    ]


def _checked(raw: dict[str, Any]) -> PhaseTimes:
    times = PhaseTimes(
        start=int(raw["start"]),
        attempt=int(raw["attempt"]),
        job=str(raw["job"]),
        allocated=None if raw["allocated"] is None else float(raw["allocated"]),
        started=float(raw["started"]),
        time=float(raw["time"]),
        from_step=None if raw["from_step"] is None else int(raw["from_step"]),
        phase=str(raw["phase"]),
        seconds={phase: float(raw["seconds"].get(phase, 0.0)) for phase in PHASES},
        saved=tuple((int(step), float(training), float(data)) for step, training, data in raw["saved"]),
    )
    if times.phase not in PHASES or not all(map(math.isfinite, (times.started, times.time, *times.seconds.values()))):
        raise ValueError("not the times of an attempt")
    return times
