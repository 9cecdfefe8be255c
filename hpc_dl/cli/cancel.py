"""``hpc-dl cancel``: stop runs."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc_dl.cli.train import AsJson, Runs


def cancel(
    words: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Names of runs, their beginnings, folders, or 'latest'.")
    ],
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Stop the jobs of runs for good; they save a checkpoint first, and what they have written
    stays.
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.status import find_runs
    from hpc_dl.cluster.status import cancel as stop
    from hpc_dl.cluster.status import statuses

    found = find_runs(words, runs)
    asked = {run.name: stop(run) for run in found}
    facts = statuses(found)
    for row in facts:
        say(f"{row['run']}: {'asked to stop' if asked[row['run']] else 'had already ended'} ({row['state']})")
    if as_json:
        emit(facts)
