"""``hpc-dl train``: train here and now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]…", help="Overrides in dotted form, for example optimizer.lr=1e-3."),
]
Runs = Annotated[
    Path | None, typer.Option("--runs", metavar="DIR", help="Folder of all runs; else $HPC_DL_RUNS or ./runs.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the data files; else $HPC_DL_DATA or ./data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


def train(
    config: Config, overrides: Overrides = None, runs: Runs = None, data: DataDir = None, as_json: AsJson = False
) -> None:
    """Train in this process, and in its ranks when more than one device is asked for.

    Exit status: 0 finished, 1 the training failed, 2 something to mend in the configuration, the data or the call.
    """
    from hpc_dl.cli.output import emit, result_table, say

    say("Loading torch and Lightning …")
    from hpc_dl.cluster import site
    from hpc_dl.cluster.launch import allocation_overrides, launch
    from hpc_dl.cluster.prepare import prepare
    from hpc_dl.cluster.status import status
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.files import read_json
    from hpc_dl.runs.folder import default_runs

    experiment = Experiment.load(config, [*(overrides or []), *allocation_overrides()])
    profile = site.load(None)  # only its folders matter here
    runs_dir = runs or profile.runs() or default_runs()
    run = prepare(experiment, runs=runs_dir, data_dir=data or profile.data(), command=sys.argv, say=say)
    say(f"Run folder: {run.path}")
    exit_status = launch(run, experiment, foreground=True)
    outcome = read_json(run.result) or status(run)
    if as_json:
        emit({"metrics": {}, **outcome})
    elif exit_status == 0:
        result_table(outcome)
        print(f"\nRun folder: {run.path}")
    if exit_status:
        say(f"hpc-dl: the run {outcome['state']}: {outcome.get('reason', 'no reason was recorded')}")
        say(f"hpc-dl: its log: {run.log(int(outcome.get('rank') or 0))}")
        raise typer.Exit(130 if outcome["state"] == "cancelled" else 1)
