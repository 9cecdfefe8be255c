"""``hpc-dl results``: the final metrics of runs, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir
from hpc_dl.cli.run_table import Row, Sort, add_settings, print_runs, sort_order

if TYPE_CHECKING:
    from hpc_dl.learning.metric_names import Split

Test = Annotated[
    bool,
    typer.Option(
        "--test",
        help="Show the test metrics, too. To choose a run by them would bias them: choose by the validation metrics.",
    ),
]


def results(
    names: OptionalRunNames = None,
    runs: RunsDir = None,
    sort: Sort = None,
    test: Test = False,
    as_json: AsJson = False,
) -> None:
    """Show the final metrics of runs, one row for each run.

    Several runs are compared by their validation metrics, next to the settings in which they
    differ. --json has the metrics of all splits.

    Example:
        hpc-dl results
        hpc-dl results --sort val/loss
    """
    from hpc_dl.cli.group_table import group_table
    from hpc_dl.cli.output import emit, result_table, say, show
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster.status import statuses
    from hpc_dl.runs.run_files import read_result

    selected = select_runs(names, runs)
    outcomes = [
        {"metrics": {}, **facts, **(read_result(run) if facts["state"] == "finished" else {})}
        for run, facts in zip(selected, statuses(selected), strict=True)
    ]
    rows: list[Row] = [{"run": o["run"], "state": o["state"]} for o in outcomes]
    settings, further = add_settings(rows, selected)
    splits: tuple[Split, ...] = ("val", "test") if test else ("val",)
    metrics = [name for split in splits for name in _metric_names(outcomes, split)]
    for row, outcome in zip(rows, outcomes, strict=True):
        row |= {name: outcome["metrics"].get(name) for name in metrics}
    order = sort_order(rows, sort)
    if as_json:
        emit([outcomes[number] for number in order])
    elif len(outcomes) == 1 and outcomes[0]["metrics"]:
        result_table(outcomes[0])
        if "by_group" in outcomes[0]:
            show()
            group_table(outcomes[0]["by_group"])
    else:
        print_runs(["run", "state", *settings, *metrics], [rows[number] for number in order], hidden=further)
        if not test and not metrics and _metric_names(outcomes, "test"):
            say("There are no validation metrics; --test shows the test metrics.")
        for outcome in outcomes:
            if outcome["state"] == "unreadable":
                say(f"hpc-dl: {outcome['dir']}: {outcome['reason']}")


def _metric_names(outcomes: list[dict[str, Any]], split: Split) -> list[str]:
    """The metrics of a split; those without one (``g_loss``) count as validation metrics."""
    from hpc_dl.learning.metric_names import split_of

    return sorted({name for outcome in outcomes for name in outcome["metrics"] if (split_of(name) or "val") == split})
