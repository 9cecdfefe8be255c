"""``hpc-dl train``: train here and now."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import RunFolder

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

    Ctrl-C, TERM, USR1 and USR2 stop it after the running step, with a checkpoint; a second Ctrl-C
    ends it at once.

    Exit status: 0 finished, 1 the training failed, 2 something to mend in the configuration, the
    data or the call, 75 stopped with a checkpoint, 130 ended by a second Ctrl-C or by `hpc-dl
    cancel`.
    """
    from hpc_dl.cli.output import say

    say("Loading torch and Lightning …")
    from hpc_dl.cluster import site
    from hpc_dl.cluster.allocation import allocation_overrides, run_before_requeue
    from hpc_dl.cluster.prepare import prepare
    from hpc_dl.config import yaml
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import default_runs

    experiment = Experiment.load(config, [*(overrides or []), *allocation_overrides()], say)
    profile = site.load(None)  # only its folders matter here
    runs_dir = runs or profile.runs() or default_runs()
    run = run_before_requeue(runs_dir, sys.argv)
    if run is None:
        run = prepare(experiment, runs=runs_dir, data_dir=data or profile.data(), command=sys.argv, say=say)
    else:
        experiment = Experiment.from_dict(yaml.load(run.config))
    train_here(run, experiment, as_json)


def train_here(run: RunFolder, experiment: Experiment, as_json: bool, in_process: bool = True) -> None:
    """Train a prepared run in the foreground, and tell how it ended; leaves with its exit status.

    Args:
        run: the run.
        experiment: what it was prepared from.
        as_json: whether stdout gets one JSON document.
        in_process: whether the code of this process is that of the run.
    """
    from hpc_dl.atomic_files import read_json
    from hpc_dl.cli.output import ENDINGS, emit, result_table, say
    from hpc_dl.cluster.allocation import in_batch_script
    from hpc_dl.cluster.launch import launch
    from hpc_dl.cluster.status import status
    from hpc_dl.errors import Stopped
    from hpc_dl.runs.state import read_state

    say(f"Run folder: {run.path}")
    # A batch script of several trainings is begun again as a whole when its job is requeued.
    exit_status = (
        0 if read_state(run)["state"] == "finished" else launch(run, experiment, foreground=True, in_process=in_process)
    )
    outcome = read_json(run.result) or status(run)
    if exit_status == Stopped.exit_status:  # also while its job, which is this one, has not ended
        outcome |= {"state": "stopped", "reason": read_state(run).get("reason", "it was asked to")}
    if as_json:
        emit({"metrics": {}, **outcome})
    elif exit_status == 0:
        result_table(outcome)
        print(f"\nRun folder: {run.path}")
    if exit_status:
        ending = ENDINGS.get(outcome["state"], outcome["state"])
        say(f"hpc-dl: the run {ending}: {outcome.get('reason', 'no reason was recorded')}")
        say(f"hpc-dl: its log: {run.log(int(outcome.get('rank') or 0))}")
        if outcome["state"] == "stopped":
            by_itself = "when Slurm starts the job again, or " if in_batch_script(os.environ) else ""
            say(f"hpc-dl: it goes on {by_itself}with `hpc-dl resume {run.cli_name}`")
        raise typer.Exit(130 if outcome["state"] == "cancelled" else exit_status)
