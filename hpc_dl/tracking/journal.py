"""The journal: a run's own record of its metrics, which needs neither torch nor a network.

Each attempt of a run (the first start, every requeue and resume) has its own file::

    journal/attempt-000.jsonl
        {"attempt": 0, "from_step": 0, "time": 1767225600.0}
        {"step": 49, "epoch": 0, "time": 1767225612.5, "train/loss": 0.41}
        {"step": 99, "epoch": 0, "time": 1767225625.1, "train/loss": "nan"}

``step`` is the number of optimizer steps done, in every row, whoever logged it. ``time`` is in
seconds since the Unix epoch. Every line is strict JSON, which has no NaN and no infinities.
These are the strings ``"nan"``, ``"inf"`` and ``"-inf"``, which ``float()`` accepts. (As ``null``,
a diverged loss would look like a missing one.)
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import fsync
from hpc_dl.errors import HpcDlError, RunError
from hpc_dl.regular_files import DamagedFile, read_bytes

_RESERVED_KEYS = frozenset({"step", "epoch", "time"})
_MOST_BYTES = 2 << 30
_SECONDS_BETWEEN_CHECKS = 1.0
_FILE_NAME = re.compile(r"attempt-([0-9]{1,9})\.jsonl")
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def without_reserved_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return logged values; ``step``, ``epoch`` and ``time`` get the prefix ``logged/``."""
    return {f"logged/{name}" if name in _RESERVED_KEYS else name: value for name, value in metrics.items()}


class JournalWriter:
    """Writer of the file of one attempt; each call appends one line.

    A line is one ``write`` to a descriptor that was opened with ``O_APPEND``. If the process is
    killed, at most the line being written is lost. Readers see complete lines, except perhaps the
    last one.
    """

    def __init__(self, folder: Path, attempt: int, from_step: int = 0) -> None:
        """Create the attempt's file with its header line.

        Args:
            folder: the run's journal folder; created if it does not exist.
            attempt: number of the attempt, from 0, unique within the run.
            from_step: number of optimizer steps before the attempt (``global_step`` of the
                checkpoint from which it resumes). Its first row has this step or a later one.

        Raises:
            FileExistsError: the attempt already has a file.
            OSError: the file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"attempt-{attempt:03d}.jsonl"
        # O_EXCL: two processes that regard themselves as the same attempt must not share a file.
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._size = 0
        self._checked_at = time.monotonic()
        self._append({"attempt": attempt, "from_step": from_step, "time": time.time()})
        fsync(folder)  # saves the name of the file; sync() saves its content

    def write(self, metrics: Mapping[str, float], step: int, epoch: int | None = None) -> None:
        """Append one row.

        Args:
            metrics: values by name, for example ``train/loss``.
            step: optimizer steps done, as in the file.
            epoch: index of the epoch; ``None`` outside of training.

        Raises:
            HpcDlError: a metric has a name that the journal reserves, or the run folder is gone.
            OSError: the disk is full or unavailable; the file then ends with the last complete
                line.
        """
        if reserved := _RESERVED_KEYS & metrics.keys():
            name = min(reserved)
            raise HpcDlError.at(
                f"metric {name}", "is a name that the journal reserves", remedy=f"log it as train/{name}"
            )
        self._check_place()
        row = {name: _to_json(value) for name, value in metrics.items()}
        self._append({"step": step, "epoch": epoch, "time": time.time(), **row})

    def _check_place(self) -> None:
        """Check that the file still has its name: rows vanish in a removed one without an error."""
        now = time.monotonic()
        if now - self._checked_at < _SECONDS_BETWEEN_CHECKS:
            return
        self._checked_at = now
        try:
            is_here = os.path.samestat(os.stat(self.path), os.fstat(self._descriptor))
        except FileNotFoundError:
            is_here = False
        except OSError:  # a network file system hesitates; the next check will tell
            is_here = True
        if not is_here:
            raise RunError.at(
                self.path.parent.parent,
                "its journal was removed or renamed while it was training",
                remedy="start a new run, and leave its folder in place until it has ended",
            )

    def sync(self) -> None:
        """Flush all rows to the disk, so that they survive the node as checkpoints do.

        Raises:
            OSError: the disk is full or unavailable.
        """
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush the file to the disk and close it; a second call does nothing."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        unwritten = line
        try:
            while unwritten:  # one iteration, unless the disk becomes full in the middle of the line
                unwritten = unwritten[os.write(self._descriptor, unwritten) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)


def read_journal(folder: Path, *, any_values: bool = False) -> list[dict[str, Any]]:
    """Read the history of a run from the files of all its attempts.

    An attempt that resumes from a checkpoint repeats the steps after it. Rows that earlier attempts
    logged after its ``from_step`` are dropped. All metrics of one step form one row, in which later
    values replace earlier ones; the epoch stays that of the first. Safe to call while the run is
    writing.

    Args:
        folder: the run's journal folder.
        any_values: whether values may be other than numbers, as those that users log to W&B.

    Returns:
        One row for each step, in ascending order: ``step``, ``epoch``, ``time`` and the metrics as
        floats (including ``nan`` and infinities). Empty if nothing was logged.

    Raises:
        DamagedFile: a line before the last one of its file is not a journal line, or a file is not
            a file at all. The message has the file and the line number.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in sorted(filter(_attempt_number, _files(folder)), key=_attempt_number):
        lines = _lines(path, any_values=any_values)
        header = next(lines, None)
        if header is None:  # killed before the header was written
            continue
        rows = {step: row for step, row in rows.items() if step <= header["from_step"]}
        for record in lines:
            row = rows.setdefault(record["step"], {})
            row.update(
                (key, _from_json(value))
                for key, value in record.items()
                if row.get(key) is None or (value is not None and key != "epoch")
            )
    return [rows[step] for step in sorted(rows)]


def _files(folder: Path) -> list[Path]:
    # Not Path.glob, which hides that a folder may not be read.
    try:
        return [folder / name for name in os.listdir(folder)]
    except FileNotFoundError:
        return []


def _attempt_number(path: Path) -> int:
    """The number of the attempt, from 1, because attempt-1000 sorts before attempt-999 by name.

    0 is for a file that does not belong to an attempt.
    """
    match = _FILE_NAME.fullmatch(path.name)
    return int(match[1]) + 1 if match else 0


def _lines(path: Path, *, any_values: bool) -> Iterator[dict[str, Any]]:
    """Yield the records of one attempt, without an incomplete last line.

    A last line without a newline was interrupted by a kill or is being written.
    """
    *lines, _incomplete = read_bytes(path, _MOST_BYTES).split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not _is_record(record, "from_step" if number == 1 else "step", any_values=any_values):
                raise ValueError("not a journal record")
        except (ValueError, RecursionError) as error:
            raise DamagedFile.at(f"{path}, line {number}", f"is damaged: {error}") from None
        yield record


def _is_record(record: Any, counter: str, *, any_values: bool) -> bool:
    """Whether a line has the types that readers rely on."""
    if not isinstance(record, dict) or type(record.get(counter)) is not int or record[counter] < 0:
        return False
    epoch, clock = record.get("epoch"), record.get("time", 0.0)
    if (epoch is not None and type(epoch) is not int) or type(clock) not in (int, float):
        return False
    return any_values or all(
        value is None or type(value) in (int, float, bool) or value in _NON_FINITE
        for key, value in record.items()
        if key != "attempt"
    )


def _to_json(value: Any) -> Any:
    """Return a number, or for NaN and infinities the string that ``float()`` accepts."""
    if isinstance(value, (int, str, dict, list)):  # not a number: what users log to W&B, such as an image
        return value
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _from_json(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def records_since(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read what was appended to the file of one attempt, without its header and damaged lines.

    Args:
        path: the attempt's file; may not exist yet.
        offset: where the last call ended; 0 at first.

    Returns:
        The records with their values as floats, and the offset for the next call.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], offset
    complete = content[: content.rfind(b"\n") + 1]
    records = []
    for line in complete.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append({key: _from_json(value) for key, value in record.items()})
    return records, offset + len(complete)
