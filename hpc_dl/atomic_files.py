"""Atomic file writes: a reader, or a crash, sees the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically: temporary file in the same folder, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically, with :func:`json_value`."""
    write_text(path, json_text(data))


def json_text(data: Any) -> str:
    """Return indented JSON, one key in each line, with :func:`json_value`."""
    return json.dumps(json_value(data), indent=2, allow_nan=False) + "\n"


def json_value(value: Any) -> Any:
    """Return plain data with NaN and infinity as text that ``float()`` reads: JSON has neither."""
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def publish(temporary: Path, path: Path) -> None:
    """Flush a complete file to the disk, then rename it to ``path``.

    Args:
        temporary: the complete file, in the same folder as ``path``.
        path: its final name; an existing file is replaced.
    """
    fsync(temporary)
    os.replace(temporary, path)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk; otherwise a crash may undo a rename."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
