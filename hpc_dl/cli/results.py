"""``hpc-dl results``: the final metrics of runs, side by side."""

from __future__ import annotations

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir


def results(names: OptionalRunNames = None, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Show the final metrics of runs, one row for each run.

    Several runs are compared by their test metrics. --json has the metrics of all splits.

    Example:
        hpc-dl results
    """
    from hpc_dl.atomic_files import read_json
    from hpc_dl.cli.output import emit, result_table, say, table
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster.status import statuses

    selected = select_runs(names, runs)
    outcomes = [
        {"metrics": {}, **facts, **(read_json(run.result) or {} if facts["state"] == "finished" else {})}
        for run, facts in zip(selected, statuses(selected), strict=True)
    ]
    if as_json:
        emit(outcomes)
    elif len(outcomes) == 1 and outcomes[0]["metrics"]:
        result_table(outcomes[0])
    else:
        # What was tested is what counts; the other splits' metrics are in --json and in
        # result.json.
        columns = sorted({name for outcome in outcomes for name in _compared(outcome["metrics"])})
        rows = [[o["run"], o["state"], *[_number(o["metrics"].get(name)) for name in columns]] for o in outcomes]
        table(["run", "state", *columns], rows)
        for outcome in outcomes:
            if outcome["state"] == "unreadable":
                say(f"hpc-dl: {outcome['dir']}: {outcome['reason']}")


def _compared(metrics: dict[str, object]) -> list[str]:
    """The test metrics of a run; without a test, those of the validation or without a split."""
    from hpc_dl.learning.metric_names import split_of

    tested = [name for name in metrics if split_of(name) == "test"]
    return tested or [name for name in metrics if split_of(name) != "train"]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
