"""``hpc-dl chain``: runs that follow each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, DataDir, NoTry, RunsDir, Site


def chain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of the chain.")],
    site: Site = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and print the steps, and submit nothing.")] = False,
    runs: RunsDir = None,
    data: DataDir = None,
    no_try: NoTry = False,
    as_json: AsJson = False,
) -> None:
    """Submit runs that start one after another, such as pre-training.

    All steps are checked before the first is submitted. Each is a run of its own, which starts when
    those that it needs have finished. If one fails, those after it are cancelled, and `hpc-dl
    status` says why.

    Example:
        hpc-dl chain configs/chains/pretrain-finetune.yaml --dry-run
        hpc-dl chain configs/chains/pretrain-finetune.yaml

    Exit status:
        0  submitted
        2  invalid input, or Slurm refused a job
    """
    from hpc_dl.chains import config
    from hpc_dl.cli.output import LOADING, emit, say, table
    from hpc_dl.cluster.folders import cli_name, data_folder, runs_folder
    from hpc_dl.cluster.job_id import JobId
    from hpc_dl.cluster.submit import load_site, uses_slurm

    profile = load_site(site, say, dry_run=dry_run)
    runs_dir, data_dir = runs_folder(runs, profile), data_folder(data, profile)
    content = config.read(file)
    say(LOADING)
    from hpc_dl.chains.plan import plan
    from hpc_dl.chains.submission import submit

    steps = plan(
        content, file.parent, profile, runs=runs_dir, data_dir=data_dir, say=say, try_batches=not (no_try or dry_run)
    )
    rows = [{"step": step.name, "does": _described(step.config), "after": ", ".join(step.earlier)} for step in steps]
    if not dry_run:
        submitted = submit(steps, profile, runs=runs_dir, data_dir=data_dir, command=sys.argv)
        for row, (run, facts) in zip(rows, submitted, strict=True):
            job = JobId.of(facts)
            row |= {"run": run.name, "job": job.description if job else f"process {facts['pid']}"}
    if as_json:
        emit(rows)
        return
    table(list(rows[0]), [list(row.values()) for row in rows], unbroken=True)
    if not dry_run:
        where = "on Slurm" if uses_slurm(profile) else "in the background of this machine"
        say(f"Submitted {len(rows)} runs {where}")
        names = " ".join(cli_name(run) for run, _ in submitted)
        say(f"Next: hpc-dl status {names}")


def _described(step: object) -> str:
    from hpc_dl.chains.config import EvaluateStep, ExportStep, TrainStep

    match step:
        case TrainStep():
            return f"train {step.train}"
        case EvaluateStep():
            return f"evaluate {step.evaluate} on {step.split}"
        case ExportStep():
            return f"export {step.export} to {step.out}"
    raise TypeError(step)
