"""``hpc-dl goodput``: the share of the allocated time that advanced the training."""

from __future__ import annotations

from typing import Any

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir


def goodput(names: OptionalRunNames = None, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Show which share of the allocated time advanced the training.

    It also shows where the rest went. Start-up lasts from the allocation until the end of the first
    step. Repeated steps are those after the last checkpoint of an attempt that was killed. The end
    is what follows the last step: the diagnosis, figures, and what the job did after its training.
    Validation includes the test. The time in the queue is no part of the allocated time.

    Example:
        hpc-dl goodput latest
        hpc-dl goodput mlp-digits-sweep
    """
    from hpc_dl.cli.output import emit
    from hpc_dl.cli.run_selection import select_runs, with_record
    from hpc_dl.cluster.goodput import goodput_of_runs

    rows = goodput_of_runs(select_runs(names, runs))
    if as_json:
        emit(rows)
        return
    known = with_record(rows, "goodput", "what its time was spent on")
    if len(known) == 1:
        _show_parts(known[0])
    elif known:
        _show_table(known)


def _show_parts(row: dict[str, Any]) -> None:
    from hpc_dl.cli.output import table
    from hpc_dl.cluster.goodput import LABELS
    from hpc_dl.formatting import duration

    lines: list[list[Any]] = [[LABELS[part], duration(s), _percent(s, row)] for part, s in row["parts_s"].items() if s]
    lines.append(["allocated", duration(row["allocated_s"]), "100.0%"])
    if row["waits_s"]:
        lines.append(["in the queue", duration(row["queue_s"], whole_seconds=True), None])
    starts = "1 start" if row["starts"] == 1 else f"{row['starts']} starts"
    table(["part", "time", "share"], lines, title=f"{row['run']} ({row['state']}, {starts})")


def _show_table(rows: list[dict[str, Any]]) -> None:
    from hpc_dl.cli.output import table
    from hpc_dl.cluster.goodput import LABELS, total_of
    from hpc_dl.formatting import duration

    total = {"run": "total", "state": "", **total_of(rows)}
    parts = [part for part in LABELS if total["parts_s"][part]]
    lines = [
        [
            row["run"],
            row["state"],
            duration(row["allocated_s"]),
            *[_percent(row["parts_s"][part], row) for part in parts],
            duration(row["queue_s"], whole_seconds=True),
            row["starts"],
        ]
        for row in [*rows, total]
    ]
    columns = ["run", "state", "allocated", *[LABELS[part] for part in parts], "queue", "starts"]
    table(columns, lines, unbroken=True)


def _percent(seconds: float, row: dict[str, Any]) -> str:
    return f"{seconds / row['allocated_s']:.1%}" if row["allocated_s"] else ""
