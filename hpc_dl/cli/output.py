"""Where output goes: messages to stderr, data to stdout, and with ``--json`` one JSON document and
nothing else.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: How a sentence tells that a run ended in a state.
ENDINGS = {"cancelled": "was cancelled", "lost": "was lost", "failed": "failed", "stopped": "stopped"}


def say(message: str) -> None:
    """A message for a person, on stderr, so that stdout stays clean for data."""
    print(message, file=sys.stderr, flush=True)


def emit(data: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def table(columns: list[str], rows: list[list[Any]], title: str = "") -> None:
    """A table on stdout; nothing when it has no rows.

    Args:
        columns: the headings.
        rows: cells, shown as they are whatever brackets they hold; ``None`` is left empty, integers
            get separators.
        title: one line above.
    """
    if not rows:
        return
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*[_cell(cell) for cell in row])
    # Piped output is not cut to a narrow default width: a run's path must stay whole.
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(shown)


def _cell(value: Any) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text("" if value is None else str(value))


def result_table(result: dict[str, Any]) -> None:
    """The metrics of a finished run, one row for each metric, one column for each split."""
    splits = ["train", "val", "test"]
    names: dict[str, dict[str, float]] = {}
    for full, value in result["metrics"].items():
        split, _, name = full.partition("/")
        if split in splits:
            names.setdefault(name, {})[split] = value
    rows = [
        [name, *[f"{by[s]:.4g}" if isinstance(by.get(s), float) else str(by.get(s, "")) for s in splits]]
        for name, by in names.items()
    ]
    table(["metric", *splits], rows, title=result["run"])
