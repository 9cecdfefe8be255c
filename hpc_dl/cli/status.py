"""``hpc-dl status``: the state and progress of runs."""

from __future__ import annotations

from typing import Any

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir


def status(names: OptionalRunNames = None, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Show the state and progress of runs, and why they ended.

    States: pending, running, stopped, finished, failed, cancelled, lost, unknown.

    Example:
        hpc-dl status latest
    """
    from hpc_dl.cli.output import emit, table
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster.status import statuses

    facts_of_runs = statuses(select_runs(names, runs))
    if as_json:
        emit(facts_of_runs)
        return
    table(["run", "state", "job", "progress", "reason"], [_row(facts) for facts in facts_of_runs])


def _row(facts: dict[str, Any]) -> list[str]:
    # As in the log, epochs count from 1 for people; in the data they count from 0.
    progress = [f"{key} {facts[key] + (key == 'epoch')}" for key in ("epoch", "step") if key in facts]
    reason = str(facts.get("reason", ""))
    if "rank" in facts:
        reason = f"rank {facts['rank']}: {reason}"
    return [facts["run"], facts["state"], facts["job"], ", ".join(progress), reason]
