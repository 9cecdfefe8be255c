"""Output of all commands: messages on stderr, data on stdout, with ``--json`` one JSON document."""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpc_dl.atomic_files import json_value
from hpc_dl.errors import printable

LOADING = "Loading PyTorch and Lightning …"
"""Message before imports that take seconds."""

_GAP = 2  # between two columns of a table

#: How a sentence describes the end of a run, by the run's state.
ENDINGS = {
    "cancelled": "was cancelled", "lost": "was lost", "failed": "failed", "stopped": "stopped", "diverged": "diverged",
    "pruned": "was pruned", "unreadable": "cannot be read",
}  # fmt: skip


def say(message: str) -> None:
    """Print a message on stderr, so that stdout has data only."""
    print(printable(message), file=sys.stderr, flush=True)


def show(text: str = "") -> None:
    """Print text on stdout; what files and users wrote into it cannot control the terminal."""
    print(printable(text), flush=True)


def emit(data: Any) -> None:
    """Print one JSON document on stdout."""
    text = json.dumps(json_value(data), indent=2, ensure_ascii=False)
    print("".join(char if char.isprintable() or char == "\n" else _json_escape(char) for char in text))


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) > 127 else f"\\u{ord(char):04x}"


def table(columns: list[str], rows: list[list[Any]], title: str = "", *, unbroken: bool = False) -> None:
    """Print a table on stdout; without rows, print nothing.

    Args:
        columns: the headings.
        rows: cells, printed literally (no markup); ``None`` is an empty cell, integers get
            thousands separators.
        title: the line above the table.
        unbroken: whether to break no cell: columns that do not fit form another table below, which
            repeats the first column.
    """
    if not rows:
        return
    if unbroken:
        texts = [[_plain(cell) for cell in row] for row in [columns, *rows]]
        widths = _natural_widths(texts)
        for number, block in enumerate(_blocks(widths)):
            if number:
                print()
            for row in texts:
                cells = (row[i] + " " * (widths[i] - _columns(row[i])) for i in block)
                print("".join(cells).rstrip())
        return
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(_cell(column), overflow="fold")
    for row in rows:
        shown.add_row(*[_cell(cell) for cell in row])
    # Output to a pipe is wide, so that the path of a run is not broken.
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    if title:  # not the Table's own title, which would be wrapped to the width of the columns
        console.print(Text(printable(title), style="italic"))
    console.print(shown)


def fits(columns: list[str], rows: list[list[Any]]) -> bool:
    """Whether a table fits the width of the terminal without breaking a cell."""
    texts = [[_plain(cell) for cell in row] for row in [columns, *rows]]
    return sum(_natural_widths(texts)) - _GAP <= _width()


def _width() -> float:
    """The columns of the terminal; unlimited in a file or pipe, unless $COLUMNS says otherwise."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) else Console().width if sys.stdout.isatty() else math.inf


def _natural_widths(texts: list[list[str]]) -> list[int]:
    return [max(map(_columns, column)) + _GAP for column in zip(*texts, strict=True)]


def _columns(text: str) -> int:
    """The columns of the terminal that a text takes; a shortcut for most texts."""
    return len(text) if text.isascii() else cell_len(text)


def _blocks(widths: list[int]) -> list[list[int]]:
    """The numbers of the columns that fit side by side; the first column is in every block."""
    first, *others = widths
    available = _width()
    blocks, used = [[0]], first
    for number, width in enumerate(others, start=1):
        if used + width - _GAP > available and len(blocks[-1]) > 1:
            blocks.append([0])
            used = first
        blocks[-1].append(number)
        used += width
    return blocks


def _cell(value: Any) -> Text:
    return Text(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else printable("\n".join(str(value).splitlines()))


def result_table(result: dict[str, Any]) -> None:
    """Print the metrics of a finished run, one row for each metric, one column for each split.

    A last column has the metrics whose name says no split, such as ``g_loss``.
    """
    from hpc_dl.learning.metric_names import split_and_metric, values_of_epochs

    columns = ["train", "val", "test"]
    metrics: dict[str, dict[str, Any]] = {}
    for name, value in values_of_epochs(result["metrics"]).items():
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
