"""W&B's files in a run folder: what was recorded, and the command that uploads it.

Each attempt of a run has a folder ``wandb/run-DATE_TIME-ID`` (online) or
``wandb/offline-run-DATE_TIME-ID``.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

READ_TIMEOUT_S = 60
"""Longest time to read an offline recording; a million rows take this long."""


def recordings(folder: Path) -> list[Path]:
    """Return the folders of all attempts, online and offline, in the order of their starts.

    Two folders from the same second belong to one attempt: the server refused the online one, so
    that it continued offline.
    """
    folders = [path for path in folder.glob("*run-*") if not path.is_symlink()]
    return sorted(folders, key=lambda path: (path.name.removeprefix("offline-"), path.name.startswith("offline-")))


def next_step(folder: Path, current: Path) -> int:
    """Return the first step without a row in any earlier recording.

    Steps increase from one recording to the next, so the last row of the newest recording that has
    rows is decisive. W&B's own reader is used, because only the file shows how much of it was
    written before a kill.

    Args:
        folder: the folder of the recordings.
        current: the recording of this attempt, which is skipped.
    """
    for path in reversed(recordings(folder)):
        if path == current:
            continue
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        reader = subprocess.run(command, capture_output=True, text=True, timeout=READ_TIMEOUT_S, check=False)
        rows = [line for line in reader.stdout.splitlines() if '"type":"history"' in line]
        if rows:
            return int(json.loads(rows[-1])["history"]["step"].get("num", 0)) + 1
    return 0


def server_refused_rows(recording: Path) -> bool:
    """Whether the server has permanently refused rows, which only W&B's internal log shows."""
    try:
        log = (recording / "logs" / "debug-internal.log").read_text(errors="replace")
    except OSError:
        return False
    return "filestream: fatal error" in log


def sync_command(recording: Path) -> str:
    """Return the shell command that uploads a recorded run.

    For an interrupted run, it uploads all offline attempts since the last online one, which has
    uploaded the rows of those before it. Each attempt gets its own ``wandb sync``, because the
    command skips all files after an empty or incomplete one, which a kill can leave.
    """
    if not recording.name.startswith("offline-run-"):
        return shlex.join(["wandb", "sync", "--include-online", str(recording)])
    folders: list[str] = []
    for path in recordings(recording.parent):
        folders = [*folders, str(path)] if path.name.startswith("offline-") else []
    if len(folders) == 1:
        return shlex.join(["wandb", "sync", *folders])
    return f'for run in {shlex.join(folders)}; do wandb sync "$run"; done'
