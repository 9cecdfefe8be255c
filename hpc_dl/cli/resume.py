"""``hpc-dl resume``: go on with a run that stopped, was cancelled, or failed."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from hpc_dl.cli.submit import Site, tell
from hpc_dl.cli.train import AsJson, Overrides, Runs, train_here


def resume(
    word: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's name, the beginning of one, its folder, or 'latest'.")
    ],
    words: Overrides = None,
    site: Site = None,
    here: Annotated[bool, typer.Option("--here", help="Train here and now, wherever it ran before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    update_code: Annotated[
        bool, typer.Option("--update-code", help="With the code of now, instead of that of the run's first start.")
    ] = False,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a stopped, cancelled or failed run, from its newest checkpoint, in the same folder
    and W&B run.

    It goes where it was: to Slurm, to the background of this machine, or here; --site sends it
    elsewhere. Resources may change, and how long to train (trainer.max_epochs, trainer.max_steps; a
    finished run goes on then, too).

    Exit status: as `hpc-dl train` and `hpc-dl submit`.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cli.status import find_runs
    from hpc_dl.cluster.resume import apply_changes, check_resumable, prepare_again, submit_again

    (run,) = find_runs([word], runs)
    facts = check_resumable(run)
    say("Loading torch and Lightning …")
    from hpc_dl.atomic_files import read_json
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.allocation import allocation_overrides, in_batch_script
    from hpc_dl.errors import RunError
    from hpc_dl.runs.state import write_state

    launcher = (read_json(run.job) or {}).get("launcher", "train")
    foreground = here or in_batch_script(os.environ) or (launcher == "train" and site is None)
    if launcher == "sbatch" and not foreground and site is None and "HPC_DL_SITE" not in os.environ:
        raise RunError.at(
            run.name,
            "was started by slurm/train.sbatch, which has no site profile to submit it again with",
            remedy="name one with --site NAME, or train here with --here",
        )
    experiment = apply_changes(run, [*(words or []), *(allocation_overrides() if foreground else [])])
    profile = sites.load(site or (str(run.site) if run.site.exists() else None))
    if not foreground:
        profile.check(experiment)
    prepare_again(run, experiment, facts, update_code=update_code, command=sys.argv, say=say)
    if foreground:
        write_state(run, "created")  # what it was no longer counts
        train_here(run, experiment, as_json, in_process=False)
    else:
        tell(run, submit_again(run, experiment, profile), wait=wait, as_json=as_json, from_now=True)
