"""Output of all commands: messages on stderr, data on stdout, with ``--json`` one JSON document."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpc_dl.errors import escape_control_characters

LOADING = "Loading PyTorch and Lightning …"
"""Message before imports that take seconds."""

#: How a sentence describes the end of a run, by the run's state.
ENDINGS = {
    "cancelled": "was cancelled", "lost": "was lost", "failed": "failed", "stopped": "stopped", "diverged": "diverged"
}  # fmt: skip


def say(message: str) -> None:
    """Print a message on stderr, so that stdout has data only."""
    print(message, file=sys.stderr, flush=True)


def emit(data: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def table(columns: list[str], rows: list[list[Any]], title: str = "") -> None:
    """Print a table on stdout; without rows, print nothing.

    Args:
        columns: the headings.
        rows: cells, printed literally (no markup); ``None`` is an empty cell, integers get
            thousands separators.
        title: the line above the table.
    """
    if not rows:
        return
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(Text(column), overflow="fold")
    for row in rows:
        shown.add_row(*[_cell(cell) for cell in row])
    # Output to a pipe is wide, so that the path of a run is not broken.
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    if title:  # not the Table's own title, which would be wrapped to the width of the columns
        console.print(Text(escape_control_characters(title), style="italic"))
    console.print(shown)


def _cell(value: Any) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    return Text("" if value is None else "\n".join(map(escape_control_characters, str(value).splitlines())))


def result_table(result: dict[str, Any]) -> None:
    """Print the metrics of a finished run, one row for each metric, one column for each split.

    A last column has the metrics whose name says no split, such as ``g_loss``.
    """
    from hpc_dl.learning.metric_names import split_and_metric

    columns = ["train", "val", "test"]
    metrics: dict[str, dict[str, Any]] = {}
    for name, value in result["metrics"].items():
        split, metric = split_and_metric(name)
        column = split or "no split"
        row = metrics.setdefault(metric, {})
        # Two names may mean the same (`val_acc` and `val/acc`): the second keeps a row of its own.
        (row if column not in row else metrics.setdefault(name, {}))[column] = value
    if any("no split" in row for row in metrics.values()):
        columns.append("no split")
    rows = [
        [metric, *[f"{by[c]:.4g}" if isinstance(by.get(c), float) else str(by.get(c, "")) for c in columns]]
        for metric, by in metrics.items()
    ]
    table(["metric", *columns], rows, title=result["run"])
