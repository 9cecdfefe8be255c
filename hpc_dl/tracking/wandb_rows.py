"""The rows of a run, as W&B gets them: the journal and what the run's code logs to W&B itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hpc_dl.tracking.journal import read_journal, records_since
from hpc_dl.tracking.wandb_outbox import Row

LOGGED = Path("wandb", "logged")
"""Where a run folder keeps what its code logs to W&B and the journal does not have."""


def read_rows(run_folder: Path, journal: Path) -> list[Row]:
    """Read all rows of a run, one for each step, in order.

    Raises:
        ValueError: a file is damaged.
        OSError: a file cannot be read.
    """
    rows: dict[int, Row] = {}
    _merge(rows, read_journal(journal))
    _merge(rows, read_journal(run_folder / LOGGED, any_values=True))
    return [rows[step] for step in sorted(rows)]


class GrowingRows:
    """The rows of a run that is being trained: first those that exist, then what is appended."""

    def __init__(self, run_folder: Path, journal: Path, attempt: int) -> None:
        """Read the rows that exist.

        Args:
            run_folder: the run.
            journal: its journal folder.
            attempt: number of the attempt that is running.

        Raises:
            ValueError: a file is damaged.
            OSError: a file cannot be read.
        """
        self._rows = {row["step"]: row for row in read_rows(run_folder, journal)}
        name = f"attempt-{attempt:03d}.jsonl"
        # What is already in them is read once more, which changes nothing.
        self._offsets = {journal / name: 0, run_folder / LOGGED / name: 0}

    def take(self) -> list[Row]:
        """Return the rows that have received values since the last call, and the newest one."""
        for path, offset in self._offsets.items():
            records, self._offsets[path] = records_since(path, offset)
            _merge(self._rows, records)
        rows = [self._rows[step] for step in sorted(self._rows)]
        self._rows = {row["step"]: row for row in rows[-1:]}
        return rows


def _merge(rows: dict[int, Row], records: Iterable[Row]) -> None:
    """Add records to the rows of their steps; the first epoch of a step stays."""
    for record in records:
        row = rows.setdefault(record["step"], {})
        epoch = row.get("epoch")
        row.update((name, value) for name, value in record.items() if value is not None or name not in row)
        if epoch is not None:
            row["epoch"] = epoch
