"""The history of a run's attempts: each start, where it went on from, and how it ended; one JSON line each."""

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
        event: ``started``, ``ended``, or ``resumed`` (a user changed something and starts it again).
        facts: plain values: ``attempt``, ``from_step``, ``state``, ``step``, ``reason``, …
    """
    line = {"event": event, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
    descriptor = os.open(run.attempts, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def history(run: RunFolder) -> list[dict[str, Any]]:
    """All lines, oldest first; one that a kill has torn is left out."""
    try:
        text = run.attempts.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
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
