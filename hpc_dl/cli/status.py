"""``hpc-dl status``: what runs are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.train import AsJson, Runs

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder

RunWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RUN]…", help="A run's name, the beginning of one, its folder, or 'latest'; default: all."),
]


def status(words: RunWords = None, runs: Runs = None, as_json: AsJson = False) -> None:
    """Show what runs are doing: pending, running and how far, stopped, finished, failed, cancelled,
    lost; and why.
    """
    from hpc_dl.cli.output import emit, table
    from hpc_dl.cluster.status import statuses

    found = statuses(find_runs(words, runs))
    if as_json:
        emit(found)
        return
    table(["run", "state", "job", "at", "remark"], [_row(facts) for facts in found])


def find_runs(words: list[str] | None, runs: Path | None) -> list[RunFolder]:
    """The runs that the words mean, or all runs.

    Args:
        words: as :func:`hpc_dl.runs.folder.find` takes them; none for all.
        runs: the folder of all runs; ``None`` for the default site's, else the default.

    Raises:
        RunError: a word means no run, or several.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cluster import site
    from hpc_dl.runs.folder import all_runs, default_runs, find

    folder = runs or site.load(None).runs() or default_runs()
    if words:
        return [find(word, folder) for word in words]
    found = list(all_runs(folder))
    if not found:
        say(f"There are no runs in {folder.absolute()}.")
    return found


def _row(facts: dict[str, Any]) -> list[str]:
    # Epochs are counted from 0 in data, from 1 for people, as in the log.
    reached = [f"{key} {facts[key] + (key == 'epoch')}" for key in ("epoch", "step") if key in facts]
    remark = str(facts.get("reason", ""))
    if "rank" in facts:
        remark = f"rank {facts['rank']}: {remark}"
    return [facts["run"], facts["state"], facts["job"], ", ".join(reached), remark]
