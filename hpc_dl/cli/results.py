"""``hpc-dl results``: the metrics of runs, side by side."""

from __future__ import annotations

from hpc_dl.cli.status import RunWords
from hpc_dl.cli.train import AsJson, Runs


def results(words: RunWords = None, runs: Runs = None, as_json: AsJson = False) -> None:
    """Show the final metrics of runs, one row for each run."""
    from hpc_dl.atomic_files import read_json
    from hpc_dl.cli.output import emit, result_table, say, table
    from hpc_dl.cli.status import find_runs
    from hpc_dl.cluster.status import statuses

    found = find_runs(words, runs)
    outcomes = [
        {"metrics": {}, **facts, **(read_json(run.result) or {} if facts["state"] == "finished" else {})}
        for run, facts in zip(found, statuses(found), strict=True)
    ]
    if as_json:
        emit(outcomes)
    elif len(outcomes) == 1 and outcomes[0]["metrics"]:
        result_table(outcomes[0])
    else:
        # What was tested is what counts; the other splits' metrics are in --json and in
        # result.json.
        columns = sorted({name for outcome in outcomes for name in outcome["metrics"] if name.startswith("test/")})
        rows = [[o["run"], o["state"], *[_number(o["metrics"].get(name)) for name in columns]] for o in outcomes]
        table(["run", "state", *columns], rows)
        for outcome in outcomes:
            if outcome["state"] == "unreadable":
                say(f"hpc-dl: {outcome['dir']}: {outcome['reason']}")


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
