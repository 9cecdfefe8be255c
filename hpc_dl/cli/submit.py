"""``hpc-dl submit``: send an experiment to Slurm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, NoTry, Overrides, RunsDir, Site
from hpc_dl.cli.completion import complete_runs

if TYPE_CHECKING:
    from hpc_dl.runs.folder import RunFolder


def submit(
    config: Config,
    overrides: Overrides = None,
    site: Site = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the batch script and submit nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="RUN[,RUN]",
            help="Start when these runs or sweeps have finished.",
            autocompletion=complete_runs,
        ),
    ] = None,
    first: Annotated[
        bool,
        typer.Option("--first", help="Take the partition and the shape that would start first (`hpc-dl start-time`)."),
    ] = False,
    runs: RunsDir = None,
    data: DataDir = None,
    no_try: NoTry = False,
    as_json: AsJson = False,
) -> None:
    """Submit an experiment to Slurm.

    The configuration, the data and the model are checked first, as by `hpc-dl validate`. On a
    machine without Slurm the run starts in the background.

    With --after the run waits until others have finished, also through their requeues. If one of
    them ends without a result, the run is cancelled, and `hpc-dl status` says why.

    Example:
        hpc-dl submit configs/cnn-fashion_mnist.yaml --wait
        hpc-dl submit configs/cnn-fashion_mnist.yaml --dry-run
        hpc-dl submit configs/mlp-digits.yaml --after cnn-digits-k3f

    Exit status:
        0    submitted; with --wait: finished
        1    with --wait: the run failed or diverged
        2    invalid input, or Slurm refused the job
        75   with --wait: the run stopped with a checkpoint and left the queue
             (`hpc-dl resume` continues it)
        130  with --wait: Ctrl-C; the run continues
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.dependency import unfinished
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.right_sizing import memory_for
    from hpc_dl.cluster.submit import batch_script, check_site, uses_slurm
    from hpc_dl.compatibility.checks import check_versions
    from hpc_dl.runs.run_files import read_job

    check_versions()
    profile = sites.load(site)
    runs_dir, data_dir = runs_folder(runs, profile), data_folder(data, profile)
    if not dry_run:
        uses_slurm(profile)  # raises at once where the site requires it and this machine has none
    earlier = (
        unfinished(select_runs([name.strip() for name in after.split(",")], runs_dir)) if after is not None else []
    )
    experiment = load_experiment(config, overrides)
    if first:
        from hpc_dl.cluster.start_time import described, earliest, start_times

        option = earliest(start_times(experiment, profile, data_dir))
        experiment, profile = replace(experiment, resources=option.resources), option.site
        where = option.partition or "The default partition"
        say(f"{where} with {described(option.resources)} would start first: {option.start}")
    if dry_run:
        resources, explanation = memory_for(experiment.resources, [runs_dir], experiment.name)
        if explanation:
            say(explanation)
        experiment = replace(experiment, resources=resources)
        check_site(profile, experiment, say, dry_run=True)
        text = batch_script(runs_dir, experiment, profile, data_dir, earlier)
        emit({"script": text}) if as_json else print(text, end="")
        return
    from hpc_dl.api.run import Run

    run = experiment.submit(
        site=profile,
        runs=runs_dir,
        data=data_dir,
        after=[Run(folder) for folder in earlier],
        try_batches=not no_try,
        say=say,
    ).folder
    say(f"Run folder: {run.path}")
    report_submission(run, read_job(run), wait=wait, as_json=as_json)


def report_submission(
    run: RunFolder, facts: dict[str, Any], *, wait: bool, as_json: bool, from_now: bool = False
) -> None:
    """Report that a run was submitted; on request, follow it until it ends.

    Args:
        run: the run.
        facts: the content of its ``job.json``.
        wait: whether to follow the run and exit with its status.
        as_json: whether stdout gets one JSON document.
        from_now: whether to skip the log of earlier attempts.
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cluster.folders import cli_name
    from hpc_dl.cluster.job_id import JobId

    job = job_id.description if (job_id := JobId.of(facts)) else f"process {facts['pid']}"
    say(f"Submitted {run.name} ({job})")
    if wait:
        _follow_until_end(run, as_json, from_now)
    elif as_json:
        from hpc_dl.cluster.status import status

        emit(status(run))
    else:
        name = cli_name(run)
        say(f"Next: hpc-dl logs {name} --follow | hpc-dl status {name} | hpc-dl cancel {name}")


def _follow_until_end(run: RunFolder, as_json: bool, from_now: bool) -> None:
    """Print the run's states and the log of rank 0 until it ends; exit with the run's status."""
    from hpc_dl.cli.output import ENDINGS, emit, result_table, say, show
    from hpc_dl.cluster.folders import cli_name
    from hpc_dl.cluster.follow import follow_run
    from hpc_dl.errors import Stopped
    from hpc_dl.runs.run_files import read_result

    last: dict[str, Any] = {}
    try:
        for update in follow_run(run, from_now=from_now):
            if isinstance(update, str):
                say(update)
            else:
                last = update
                say(f"[{update['state']}] {update.get('reason', '')}".rstrip())
    except KeyboardInterrupt:
        follow, stop = f"hpc-dl logs {cli_name(run)} --follow", f"hpc-dl cancel {cli_name(run)}"
        say(f"\nThe run continues. Follow it with `{follow}`, stop it with `{stop}`.")
        raise typer.Exit(130) from None
    outcome = {"metrics": {}, **last, **(read_result(run) if last["state"] == "finished" else {})}
    if as_json:
        emit(outcome)
    elif last["state"] == "finished":
        result_table(outcome)
        show(f"\nRun folder: {run.path}")
    if last["state"] != "finished":
        say(f"hpc-dl: the run {ENDINGS[last['state']]}: {last.get('reason', 'no reason was recorded')}")
        if "log" in last:
            say(f"hpc-dl: its log: {last['log']}")
        if last["state"] != "pruned":
            say(f"hpc-dl: what to do: `hpc-dl why {cli_name(run)}`")
        raise typer.Exit(Stopped.exit_status if last["state"] in ("stopped", "pruned") else 1)
