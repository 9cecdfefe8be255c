"""``hpc-dl sweep``: many runs of one experiment with different settings."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, NoTry, Overrides, RunsDir, Site

if TYPE_CHECKING:
    from pathlib import Path

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
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Take finished runs outside of the sweep that equal new members.")
    ] = False,
    runs: RunsDir = None,
    data: DataDir = None,
    no_try: NoTry = False,
    as_json: AsJson = False,
) -> None:
    """Run an experiment with many settings, as one job array.

    The `sweep` section of the experiment lists the settings that vary. All members are checked
    first. Without Slurm they run in the background of this machine, as many at a time
    as fit on its CPU cores.

    Repeated with more values, trials or repeats, the command runs only what is new. Finished runs
    outside of the sweep with the settings, data and code of new members can take their place, as
    copies: on a terminal the command asks, elsewhere only --reuse takes them.

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
    from hpc_dl.errors import ConfigError

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

    if reuse and (force or planned.study):
        reason = "repeats members instead (--force)" if force else f"points of {planned.config.method} are chosen later"
        raise ConfigError.at("--reuse", f"reuses no runs here: {reason}", remedy="leave it out")
    if not force:
        planned = _with_reused(planned, runs_dir, agreed=reuse, ask=not (dry_run or as_json))
    num_to_run = len(planned.new) - len(planned.reused)
    script = ""
    if dry_run and num_to_run:
        script = script_of(
            planned.sweep, num_to_run, planned.config, planned.new[0].member.experiment, profile, data_dir
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
        say(f"Submitted {num_to_run - len(left)} members of {planned.sweep.name} ({where})")
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
        "reused": {name: str(run.path) for name, run in planned.reused.items()},
    }


def _with_reused(planned: Plan, runs: Path, *, agreed: bool, ask: bool) -> Plan:
    """The sweep with finished runs in place of new members, if the user agrees."""
    from dataclasses import replace

    from hpc_dl.cli.output import say
    from hpc_dl.formatting import shortened
    from hpc_dl.sweeps.reuse import reusable

    found = reusable(planned, runs)
    if not found:
        return planned
    names = shortened(list(dict.fromkeys(run.name for run in found.values())), 5)
    count = f"{len(found)} of the {len(planned.new)} new members equal finished runs outside of the sweep ({names})"
    if not agreed and ask and sys.stdin.isatty() and sys.stderr.isatty():
        say(f"{count}. Take their results instead of training again? [y/N]")
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    elif agreed:
        say(f"{count}, which are copied.")
    else:
        say(f"{count}; --reuse takes their results instead of training again.")
    return replace(planned, reused=found) if agreed else planned


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
