"""``hpc-dl train``: train in the foreground."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import RunFolder


def train(
    config: Config, overrides: Overrides = None, runs: RunsDir = None, data: DataDir = None, as_json: AsJson = False
) -> None:
    """Train an experiment in this terminal or inside a Slurm job.

    One process (rank) runs for each device. Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 stop the training
    after the current step, with a checkpoint. A second Ctrl-C ends it at once.

    Example:
        hpc-dl train configs/cnn-digits.yaml trainer.max_epochs=3

    Exit status:
        0    finished
        1    the training failed, or diverged to a NaN or infinite loss
        2    invalid input: configuration, data or arguments
        75   stopped with a checkpoint (`hpc-dl resume` continues it)
        130  ended by a second Ctrl-C or by `hpc-dl cancel`
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.allocation import allocation_overrides, run_before_requeue
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.compatibility.checks import check_training

    runs_dir, data_dir = runs_folder(runs), data_folder(data)
    experiment = load_experiment(config, [*(overrides or []), *allocation_overrides()])
    from hpc_dl.api.experiment import Experiment
    from hpc_dl.cluster.prepare import prepare
    from hpc_dl.config import yaml

    check_training(with_wandb=experiment.wandb.mode != "disabled")
    run = run_before_requeue(runs_dir, sys.argv)
    if run is None:
        run = prepare(experiment, runs=runs_dir, data_dir=data_dir, command=sys.argv, say=say)
    else:
        experiment = Experiment.from_dict(yaml.load(run.config))
    train_in_foreground(run, experiment, as_json)


def train_in_foreground(run: RunFolder, experiment: Experiment, as_json: bool, in_process: bool = True) -> None:
    """Train a prepared run, report how it ended, and exit with its status.

    Args:
        run: the run.
        experiment: the run's experiment.
        as_json: whether stdout gets one JSON document.
        in_process: whether this process has imported the run's own code and may train it.
    """
    from hpc_dl.cli.output import ENDINGS, emit, result_table, say, show
    from hpc_dl.cluster.allocation import in_batch_script
    from hpc_dl.cluster.folders import cli_name
    from hpc_dl.cluster.launch import launch
    from hpc_dl.cluster.status import status
    from hpc_dl.errors import Stopped
    from hpc_dl.runs.run_files import read_result
    from hpc_dl.runs.state import read_state

    say(f"Run folder: {run.path}")
    # When Slurm requeues a job, its batch script starts over, with trainings that have finished.
    exit_status = (
        0 if read_state(run)["state"] == "finished" else launch(run, experiment, foreground=True, in_process=in_process)
    )
    outcome = read_result(run) or status(run)
    if exit_status == Stopped.exit_status:
        # The status may still be "running", because the Slurm job of the run is this one.
        own = read_state(run)
        state = "pruned" if own["state"] == "pruned" else "stopped"
        outcome |= {"state": state, "reason": own.get("reason", "on request")}
    if as_json:
        emit({"metrics": {}, **outcome})
    elif exit_status == 0:
        result_table(outcome)
        show(f"\nRun folder: {run.path}")
    if exit_status:
        if outcome["state"] in ENDINGS:
            say(f"hpc-dl: the run {ENDINGS[outcome['state']]}: {outcome.get('reason', 'no reason was recorded')}")
        else:  # this process is its job, which is still alive
            say(f"hpc-dl: the run ended with status {exit_status}, which could not be recorded in {run.state}")
        say(f"hpc-dl: its log: {run.log(int(outcome.get('rank') or 0))}")
        if outcome["state"] in ("failed", "diverged", "lost"):
            say(f"hpc-dl: what to do: `hpc-dl why {cli_name(run)}`")
        if outcome["state"] == "stopped":
            requeue = "Slurm continues it when it requeues the job, or " if in_batch_script(os.environ) else ""
            say(f"hpc-dl: {requeue}continue it with `hpc-dl resume {cli_name(run)}`")
        raise typer.Exit(130 if outcome["state"] == "cancelled" else exit_status)
