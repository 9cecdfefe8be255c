"""The journal: a run's own record of its metrics, which needs neither torch nor a network.

Each attempt of a run (the first start, every requeue and resume) appends to a file of its own::

    journal/attempt-000.jsonl
        {"attempt": 0, "from_step": 0, "time": 1767225600.0}
        {"step": 49, "epoch": 0, "time": 1767225612.5, "train/loss": 0.41}
        {"step": 99, "epoch": 0, "time": 1767225625.1, "train/loss": "nan"}

``step`` is Lightning's: the index, from 0, of the optimizer step that a row describes. ``time`` is
in seconds since the Unix epoch. Every line is strict JSON; strict JSON has no NaN and no
infinities, so these are the strings ``"nan"``, ``"inf"`` and ``"-inf"``, which ``float()`` reads
back (``null`` would not tell a diverged loss from an absent one).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import fsync
from hpc_dl.errors import HpcDlError

_OWN_KEYS = frozenset({"step", "epoch", "time"})
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class JournalWriter:
    """Appends the metrics of one attempt, a line for each call.

    A line is handed to the kernel in a single ``write`` on a descriptor opened with ``O_APPEND``:
    the death of the process loses at most the line being written, and a reader sees whole lines
    with at most the last one torn.
    """

    def __init__(self, folder: Path, attempt: int, from_step: int = 0) -> None:
        """Create the attempt's file and its header line.

        Args:
            folder: the run's journal folder; made when it does not exist.
            attempt: number of the attempt, from 0; never used twice within a run.
            from_step: optimizer steps that the attempt starts with already done (the
                ``global_step`` of the checkpoint it goes on from), so that its first row has this
                step or a later one.

        Raises:
            FileExistsError: an attempt of this number has already been recorded.
            OSError: the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"attempt-{attempt:03d}.jsonl"
        # O_EXCL: two processes that believe to be the same attempt must not interleave two
        # histories.
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._size = 0
        self._append({"attempt": attempt, "from_step": from_step, "time": time.time()})
        fsync(folder)  # the file's name; its content is for sync()

    def write(self, metrics: Mapping[str, float], step: int, epoch: int | None = None) -> None:
        """Append one row.

        Args:
            metrics: values by name, for example ``train/loss``.
            step: optimizer steps done when the values were measured.
            epoch: index of the epoch; ``None`` outside of training.

        Raises:
            HpcDlError: a metric has one of the journal's own names.
            OSError: the disk is full or gone; the file then ends with the last whole line.
        """
        if taken := _OWN_KEYS & metrics.keys():
            name = min(taken)
            raise HpcDlError.at(
                f"metric {name}", "is a name that the journal needs itself", remedy=f"log it as train/{name}"
            )
        row = {name: _to_json(value) for name, value in metrics.items()}
        self._append({"step": step, "epoch": epoch, "time": time.time(), **row})

    def sync(self) -> None:
        """Put the rows so far on the disk itself: a checkpoint that outlives its node needs the
        history before it.

        Raises:
            OSError: the disk is full or gone.
        """
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Put the file on the disk itself and close it; a second call does nothing."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        rest = line
        try:
            while rest:  # one turn, unless the disk becomes full in the middle of the line
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The one history of a run, from all its attempts.

    A row's ``step`` counts the optimizer steps done. An attempt that went on from a checkpoint
    replays the steps after it: the rows that earlier attempts logged after its ``from_step`` are
    dropped. Everything logged at one step is one row, in which a later value replaces an earlier
    one. Safe to call while the run is writing.

    Args:
        folder: the run's journal folder.

    Returns:
        One row for each step, ascending: ``step``, ``epoch``, ``time`` and the metrics logged at
        that step, as floats (``nan`` and infinities included). Empty when nothing has been logged.

    Raises:
        ValueError: a line other than the last of its file is not a journal line; names the file and
            the line.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("attempt-*.jsonl"), key=_attempt_number):
        lines = _lines(path)
        header = next(lines, None)
        if header is None:  # killed before even the header was out
            continue
        rows = {step: row for step, row in rows.items() if step <= header["from_step"]}
        for record in lines:
            row = rows.setdefault(record["step"], {})
            row.update((key, _from_json(value)) for key, value in record.items() if not (value is None and key in row))
    return [rows[step] for step in sorted(rows)]


def _attempt_number(path: Path) -> int:
    return int(path.stem.removeprefix("attempt-"))  # by number: after attempt-999 the names no longer sort


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of one attempt. A last line without its newline was torn by a kill, or is being
    written right now.
    """
    *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or ("from_step" if number == 1 else "step") not in record:
                raise ValueError("not a journal record")
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        yield record


def _to_json(value: float) -> float | str:
    """A number, or the string that ``float()`` reads back as the value that JSON has no number for."""
    if isinstance(value, int):
        return value
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _from_json(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value
