"""The history of a run's attempts: how each one started and ended, one JSON object per line."""

from __future__ import annotations

import json
import os
import time
from itertools import takewhile
from typing import Any

from hpc_dl.regular_files import read_bytes
from hpc_dl.runs.folder import RunFolder

_MOST_BYTES = 256 << 20


def record(run: RunFolder, event: str, /, **facts: Any) -> None:
    """Append an event to the history.

    Args:
        run: the run.
        event: ``started``, ``ended``, or ``resumed`` (a user resumes the run, possibly with
            changes).
        facts: plain values: ``attempt``, ``from_step``, ``state``, ``step``, ``reason``, …
    """
    line = json.dumps({"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}).encode() + b"\n"
    descriptor = os.open(run.attempts, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        # A kill or a full disk may have cut off the previous line.
        incomplete = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" + line if incomplete else line)
    finally:
        os.close(descriptor)


def history(run: RunFolder) -> list[dict[str, Any]]:
    """Return all events, oldest first, without incomplete and damaged lines.

    Raises:
        DamagedFile: it is not a regular file.
    """
    try:
        content = read_bytes(run.attempts, _MOST_BYTES)
    except FileNotFoundError:
        return []
    events = []
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "event" in event and isinstance(event.get("seconds", 0), int | float):
            events.append(event)
    return events


def requeues_at_time_limit(run: RunFolder) -> int:
    """The number of requeues at the time limit since a user last submitted or resumed the run."""
    count = 0
    for event in history(run):
        if event["event"] == "resumed":
            count = 0
        elif event["event"] == "ended" and event.get("requeue"):
            count += 1
    return count


def attempts_without_progress(run: RunFolder) -> int:
    """The number of latest attempts that started from the same step, the current one included."""
    starts: list[object] = []
    for event in history(run):
        if event["event"] == "resumed":  # by a user, who may have removed the cause
            starts = []
        elif event["event"] == "started":
            starts.append(event.get("from_step"))
    return len(list(takewhile(lambda step: step == starts[-1], reversed(starts))))


def seconds(run: RunFolder) -> float:
    """The total duration of all attempts that recorded their end; killed attempts did not."""
    return float(sum(event.get("seconds", 0) for event in history(run) if event["event"] == "ended"))
