"""``hpc-dl cancel``: stop runs."""

from __future__ import annotations

from hpc_dl.cli.arguments import AsJson, RunNames, RunsDir


def cancel(names: RunNames, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Stop runs and take their jobs out of the queue.

    A running training saves a checkpoint first, so that `hpc-dl resume` can continue it. The run
    folder stays.

    Example:
        hpc-dl cancel latest
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster.status import cancel as stop
    from hpc_dl.cluster.status import statuses

    selected = select_runs(names, runs)
    stopping = {run.name: stop(run) for run in selected}
    rows = statuses(selected)
    for row in rows:
        action = "stop requested" if stopping[row["run"]] else "had already ended"
        say(f"{row['run']}: {action} ({row['state']})")
    if as_json:
        emit(rows)
