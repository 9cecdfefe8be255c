"""The history of a run's attempts: each start, where it went on from, and how it ended; one JSON
line each.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from hpc_dl.runs.folder import RunFolder


def record(run: RunFolder, event: str, /, **facts: Any) -> None:
    """Append a line.

    Args:
        run: the run.
        event: ``started``, ``ended``, or ``resumed`` (a user changed something and starts it
            again).
        facts: plain values: ``attempt``, ``from_step``, ``state``, ``step``, ``reason``, …
    """
    line = json.dumps({"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}).encode() + b"\n"
    descriptor = os.open(run.attempts, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a kill, or a full disk, in an earlier record
        os.write(descriptor, b"\n" + line if torn else line)
    finally:
        os.close(descriptor)


def history(run: RunFolder) -> list[dict[str, Any]]:
    """All lines, oldest first; one that a kill has torn, or a disk has damaged, is left out."""
    try:
        content = run.attempts.read_bytes()
    except FileNotFoundError:
        return []
    lines = []
    for text in content.split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "event" in line:
            lines.append(line)
    return lines


def requeues(run: RunFolder) -> int:
    """How often the run was put back into the queue since it was last started by hand."""
    count = 0
    for line in history(run):
        if line["event"] == "resumed":
            count = 0
        elif line["event"] == "ended" and line.get("requeue"):
            count += 1
    return count


def seconds(run: RunFolder) -> float:
    """How long the attempts were that have told their end; those that were killed have not."""
    return float(sum(line.get("seconds", 0) for line in history(run) if line["event"] == "ended"))
