"""``hpc-dl sweep``: many runs of one experiment with different settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, NoTry, Overrides, RunsDir, Site

if TYPE_CHECKING:
    from hpc_dl.sweeps.preparation import Plan

_MOST_ROWS = 30


def sweep(
    config: Config,
    overrides: Overrides = None,
    site: Site = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the batch script and the members, and submit nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also rerun members that already have a run.")] = False,
    runs: RunsDir = None,
    data: DataDir = None,
    no_try: NoTry = False,
    as_json: AsJson = False,
) -> None:
    """Run an experiment with many settings, as one job array.

    The `sweep` section of the experiment lists the settings that vary. All members are checked
    first. Without Slurm they run in the background of this machine, as many at a time
    as fit on its CPU cores.

    Repeated with more values, trials or repeats, the command runs only what is new.

    Example:
        hpc-dl sweep configs/mlp-digits.yaml --dry-run
        hpc-dl sweep configs/mlp-digits.yaml sweep.repeats=5

    Exit status:
        0  submitted, or nothing new to run
        2  invalid input, or Slurm refused the job array
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.cluster.submit import check_site
    from hpc_dl.compatibility.checks import check_versions

    check_versions()
    profile = sites.load(site)
    runs_dir, data_dir = runs_folder(runs, profile), data_folder(data, profile)
    experiment = load_experiment(config, overrides)
    check_site(profile, experiment, say, dry_run=dry_run)
    planned = experiment.plan_sweep(
        profile, runs=runs_dir, data=data_dir, force=force, try_batches=not (no_try or dry_run), say=say
    )
    from hpc_dl.sweeps.start import start
    from hpc_dl.sweeps.submission import Submitted, script_of

    script = ""
    if dry_run and planned.new:
        script = script_of(
            planned.sweep, len(planned.new), planned.config, planned.new[0].member.experiment, profile, data_dir
        )
    if as_json:
        facts = _facts(planned) | ({"script": script} if dry_run else {})
    else:
        if script:
            show(script)
        _print_members(planned)
    submitted = Submitted([], []) if dry_run else start(planned, profile, data_dir)
    submissions, left = submitted.submissions, submitted.left
    if as_json:
        emit(facts | {"submissions": submissions, "left": [run.name for run in left]})
    elif submissions:
        jobs = ", ".join(f"job array {facts['job_id']}" for facts in submissions if "job_id" in facts)
        where = jobs or f"in the background, {submissions[0]['at_once']} at a time"
        say(f"Submitted {len(planned.new) - len(left)} members of {planned.sweep.name} ({where})")
        say(f"Next: hpc-dl status {planned.sweep.name} | hpc-dl results {planned.sweep.name}")
    if submitted.remedy:
        say(f"hpc-dl: {submitted.remedy}")


def _facts(planned: Plan) -> dict[str, Any]:
    return {
        "sweep": planned.sweep.name,
        "dir": str(planned.sweep.path),
        "new": [{"run": new.name, **new.facts()} for new in planned.new],
        "existing": planned.existing,
        "former": planned.former,
    }


def _print_members(planned: Plan) -> None:
    from hpc_dl.cli.output import say, show, table
    from hpc_dl.sweeps.points import described

    later = f"chosen by {planned.config.method} when it starts"
    if planned.new:
        rows = [
            [new.name, later if planned.study else described(new.member.point), str(new.member.seed)]
            for new in planned.new[:_MOST_ROWS]
        ]
        table(["member", "settings", "seed"], rows)
        if (more := len(planned.new) - _MOST_ROWS) > 0:
            show(f"… and {more} more")
    say(
        f"{planned.sweep.name}: {planned.size} members, {len(planned.new)} of them new, "
        f"{planned.num_models} different models checked"
    )
    if planned.former:
        say(f"{len(planned.former)} runs of earlier calls are no longer part of it; their folders stay")
