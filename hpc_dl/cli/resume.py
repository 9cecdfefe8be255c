"""``hpc-dl resume``: continue a run that stopped, was cancelled, or failed."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Overrides, RunName, RunsDir, Site, Yes
from hpc_dl.cli.submit import report_submission
from hpc_dl.cli.train import train_in_foreground


def resume(
    name: RunName,
    overrides: Overrides = None,
    site: Site = None,
    here: Annotated[bool, typer.Option("--here", help="Train in this terminal, wherever the run was before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    update_code: Annotated[
        bool, typer.Option("--update-code", help="Use the current code instead of the run's own copy.")
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Of a sweep, only the members that failed or were lost.")
    ] = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Continue a stopped, cancelled or failed run.

    The run starts from its newest checkpoint and keeps its folder and its W&B run. It continues
    where it ran before: on Slurm, in the background of this machine, or in the foreground. --site
    moves it to another site.

    Overrides may change `resources` and the length of the training (trainer.max_epochs,
    trainer.max_steps). A longer training also continues a finished run. As long as a run has no
    best weights, checkpoint.monitor and checkpoint.mode may change, too.

    For a sweep, all members that have ended without a result are submitted again, in one job array.

    Example:
        hpc-dl resume latest trainer.max_epochs=20
        hpc-dl resume mlp-digits-sweep --failed

    Exit status:
        as for `hpc-dl train` and `hpc-dl submit`
    """
    from hpc_dl.cli.output import LOADING, say
    from hpc_dl.cli.run_selection import select_run, select_sweep
    from hpc_dl.cli.sweep_resume import resume_sweep
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.allocation import allocation_overrides, in_batch_script
    from hpc_dl.cluster.resumable import check_resumable
    from hpc_dl.compatibility.checks import check_versions
    from hpc_dl.errors import RunError
    from hpc_dl.inference.trained_run import run_data
    from hpc_dl.runs.run_files import read_job
    from hpc_dl.runs.state import write_state
    from hpc_dl.runs.trust import check_trusted

    check_versions()
    if (sweep := select_sweep(name, runs)) is not None:
        if overrides or here or wait or update_code:
            raise RunError.at(name, "is a sweep, for which only --failed, --site and --yes can be given")
        resume_sweep(sweep, site, only_failed=failed, yes=yes, as_json=as_json)
        return
    if failed:
        raise RunError.at(name, "is not a sweep, and --failed selects members of a sweep")
    run = select_run(name, runs)
    facts = check_resumable(run)
    check_trusted(run, "resuming it runs its code and loads all objects in its checkpoint", yes=yes)
    launcher = read_job(run).get("launcher", "train")
    foreground = here or in_batch_script(os.environ) or (launcher == "train" and site is None)
    if launcher == "sbatch" and not foreground and site is None and "HPC_DL_SITE" not in os.environ:
        raise RunError.at(
            run.name,
            "was started by slurm/train.sbatch, which has no site profile to submit it again with",
            remedy="specify one with --site NAME, or train here with --here",
        )
    profile = sites.load(site or (str(run.site) if run.site.exists() else None))
    changes = [*(overrides or []), *(allocation_overrides() if foreground else [])]
    run_data(run)
    say(LOADING)
    from hpc_dl.cluster.resume import apply_changes, prepare_again, submit_again
    from hpc_dl.cluster.submit import report_site

    if run.trial.exists():
        from hpc_dl.sweeps.adaptive import propose

        propose(run)  # a member that has never started has no point yet
    experiment = apply_changes(run, changes)
    if not foreground:
        profile.check(experiment)
        report_site(profile, say)
    prepare_again(run, experiment, facts, update_code=update_code, command=sys.argv, say=say)
    if foreground:
        write_state(run, "created")  # replaces the state in which the last attempt ended
        train_in_foreground(run, experiment, as_json, in_process=False)
    else:
        report_submission(run, submit_again(run, experiment, profile), wait=wait, as_json=as_json, from_now=True)
