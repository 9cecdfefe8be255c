"""The report of a soak test: a line for each fault, a table of the kinds of faults, and JSON."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.soak.faults import FAULTS, MOMENTS, promised_steps
from benchmarks.soak.trials import Soak, Trial, allowed_steps


def describe(trial: Trial) -> str:
    """Return one line about a fault and its effect."""
    plan = trial.shot
    outcome = trial.problem or ("identical" if trial.identical else "not compared")
    resumed = "kept running" if trial.lost is None else f"step {trial.reached} → {trial.resumed_from}"
    ended = f"ended in {trial.seconds:.1f} s, " if trial.seconds else ""
    return f"run {trial.run} ({trial.configuration}): {plan.fault} at {plan.moment}: {ended}{resumed}: {outcome}"


def by_kind(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row for each kind of fault."""
    rows = []
    for name, fault in FAULTS.items():
        trials_of_kind = [trial for trial in trials if trial.shot.fault == name]
        limits = [promised_steps(fault, trial.configuration) for trial in trials_of_kind]
        # Steps that a full disk cost in the same attempt are not due to this fault.
        lost = [
            trial.lost
            for trial, limit in zip(trials_of_kind, limits, strict=True)
            if trial.lost is not None and (limit is None or allowed_steps(trial, trials) is not None)
        ]
        bounds = [limit for limit in limits if limit is not None]
        rows.append(
            {
                "fault": name,
                "tries": len(trials_of_kind),
                "survived": sum(trial.survived for trial in trials_of_kind),
                "most_steps_lost": max(lost, default=None),
                "promised": max(bounds) if bounds and fault.ends else None,
                "identical": sum(trial.identical for trial in trials_of_kind),
                "problems": [describe(trial) for trial in trials_of_kind if trial.problem],
            }
        )
    return rows


def show_table(rows: Sequence[Mapping[str, Any]], trials: Sequence[Trial], title: str) -> None:
    """Print the rows, the number of faults at each moment, and all problems."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    shown = Table(title=title, title_justify="left", box=SIMPLE)
    for column in ("fault", "tries", "survived", "steps lost", "promised", "identical"):
        shown.add_column(column, justify="left" if column == "fault" else "right", no_wrap=True)
    for row in rows:
        cells = [row[key] for key in ("tries", "survived", "most_steps_lost", "promised", "identical")]
        style = "red" if row["problems"] else None
        shown.add_row(row["fault"], *["–" if cell is None else str(cell) for cell in cells], style=style)
    console.print(shown)
    moments = {name: sum(trial.shot.moment == name for trial in trials) for name in MOMENTS}
    console.print("Moments: " + ", ".join(f"{name} {count}" for name, count in moments.items()), highlight=False)
    for row in rows:
        for problem in row["problems"]:
            console.print(problem, style="red", highlight=False, soft_wrap=True)


def write_json(path: Path, soak: Soak, seconds: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write everything that happened."""
    content = {
        "seed": soak.seed,
        "seconds": round(seconds, 1),
        "runs": soak.runs,
        "python": platform.python_version(),
        "faults": rows,
        "trials": [{**asdict(trial), "lost": trial.lost} for trial in soak.trials],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
