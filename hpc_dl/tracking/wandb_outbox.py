"""The outbox: the lines of W&B's history of a run, in the order in which they are sent.

W&B only appends, so that the order of its lines cannot follow from the journal alone: a row may get
values after it was sent, as when a run resumes with the validation that shares the row of its last
step. So what is to be sent is first appended to ``wandb/history.jsonl``, whose line N is line N in
W&B. It has each value of the journal once, so that sending can be repeated and interrupted.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hpc_dl.regular_files import check_regular

Row = dict[str, Any]

GLOBAL_STEP = "trainer/global_step"
"""Name of the step in every row and x-axis of every chart, as in Lightning's own W&B logger."""

_NON_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}
_PLACE = ("step", "time", "epoch")


class Outbox:
    """The outbox of one run; the caller holds the run's upload lock during each call.

    Attributes:
        count: number of lines.
    """

    def __init__(self, path: Path) -> None:
        """Open an outbox; a line that a kill has cut off is removed.

        A damaged one is emptied, since the journal has all values.

        Args:
            path: the file; created when there is something to send.

        Raises:
            OSError: the file cannot be read or removed.
            DamagedFile: it is not a regular file.
        """
        self._path = path
        self._forget()
        for text in self._texts():
            try:
                line = json.loads(text)
                if not all(type(line[name]) is int for name in (GLOBAL_STEP, "_step")):
                    raise ValueError("not a line of this file")
                self._note(line[GLOBAL_STEP], frozenset(name for name in line if not _is_added(name)), line)
            except (ValueError, KeyError, TypeError, RecursionError):
                self.clear()
                break
            self._size += len(text)

    @property
    def is_current(self) -> bool:
        """Whether no other process has changed the file since it was read."""
        try:
            return self._path.stat().st_size == self._size
        except FileNotFoundError:
            return self._size == 0

    def _forget(self) -> None:
        self.count = 0
        self._next_step = 0
        self._first_time: float | None = None
        self._names: dict[int, frozenset[str]] = {}  # of the values of each step
        self._size = 0

    def add(self, rows: Iterable[Row], started: float) -> None:
        """Append the values that are not in the outbox yet, and flush them to the disk.

        Args:
            rows: rows of the journal.
            started: when the run started, in seconds since the epoch; 0 if only its rows say so.

        Raises:
            OSError: the disk is full or unavailable.
        """
        new = []
        for row in rows:
            known = self._names.get(row["step"], frozenset())
            values = {name: value for name, value in _values(row).items() if name not in known}
            if not values:
                continue
            place = {} if row.get("epoch") is None else {"epoch": row["epoch"]}
            # W&B drops a line whose step is not above that of the line before it.
            place |= {GLOBAL_STEP: row["step"], "_step": max(row["step"], self._next_step)}
            since = started or self._first_time or row["time"]
            line = {**values, **place, "_timestamp": row["time"], "_runtime": max(0.0, row["time"] - since)}
            new.append(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._note(row["step"], frozenset(values), line)
        if new:
            self._append(b"".join(new))

    def lines(self, start: int) -> Iterator[str]:
        """Return the lines from one on, as they are sent."""
        for text in islice(self._texts(), start, None):
            yield text.decode().rstrip("\n")

    def line(self, number: int) -> Row:
        """A line's values, with ``_step``, ``_timestamp`` and the global step."""
        return dict(json.loads(next(self.lines(number))))

    def last_step(self) -> int:
        """The highest global step; -1 without any line."""
        return max(self._names, default=-1)

    def clear(self) -> None:
        """Remove all lines, because they are to be sent as another run.

        Raises:
            OSError: the file cannot be removed.
        """
        self._path.unlink(missing_ok=True)
        self._forget()

    def _note(self, step: int, names: frozenset[str], line: Row) -> None:
        self._names[step] = self._names.get(step, frozenset()) | names
        self._next_step = line["_step"] + 1
        self._first_time = self._first_time or line["_timestamp"]
        self.count += 1

    def _texts(self) -> Iterator[bytes]:
        try:
            check_regular(self._path, self._path.stat())
            with self._path.open("rb") as file:
                for text in file:
                    if text.endswith(b"\n"):
                        yield text
        except FileNotFoundError:
            return

    def _append(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._path.open("r+b" if self._path.exists() else "wb") as file:
                file.truncate(self._size)
                file.seek(self._size)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.__init__(self._path)  # type: ignore[misc]
            raise
        self._size += len(content)


def latest(rows: Iterable[Row]) -> Row:
    """The newest value of each name: what W&B's tables show for a run."""
    values: Row = {}
    for row in rows:
        values.update(_values(row))
    return values


def _values(row: Row) -> Row:
    """The values of a row; those with a name that each line has already get a prefix."""
    return {
        f"logged/{name}" if _is_added(name) else name: to_json(value)
        for name, value in row.items()
        if name not in _PLACE
    }


def _is_added(name: str) -> bool:
    return name in ("epoch", GLOBAL_STEP, "_step", "_timestamp", "_runtime")


def to_json(value: Any) -> Any:
    """The value as W&B's client writes it: JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return _NON_FINITE.get(value, "NaN")
    return value
