"""Submission of a chain: all of its run folders, then all of its jobs, or none."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.chains.config import EvaluateStep, ExportStep
from hpc_dl.chains.plan import PlannedStep
from hpc_dl.cluster.prepare import create
from hpc_dl.cluster.status import cancel
from hpc_dl.cluster.submit import MaybeQueued, submit_run
from hpc_dl.errors import HpcDlError
from hpc_dl.inference.model_task import ModelTask
from hpc_dl.runs import predecessors
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


def submit(
    steps: Sequence[PlannedStep], site: SiteProfile, *, runs: Path, data_dir: Path | None, command: list[str]
) -> list[tuple[RunFolder, dict[str, Any]]]:
    """Create the runs of all steps and submit them; each starts when those before it have finished.

    Args:
        steps: the plan.
        site: the site profile.
        runs: folder of all runs.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        command: the command line, for the provenance.

    Returns:
        The run of each step and the content of its ``job.json``.

    Raises:
        HpcDlError: a folder cannot be written, or Slurm refuses a job; those that it accepted are
            cancelled, and no folder is left but that of a job that may be queued nevertheless.
    """
    created: dict[str, RunFolder] = {}
    submitted: list[tuple[RunFolder, dict[str, Any]]] = []
    try:
        for step in steps:
            created[step.name] = _create(step, created, runs, command)
        for step in steps:
            run = created[step.name]
            submitted.append((run, submit_run(run, step.experiment, site, data_dir)))
    except BaseException as error:
        for run, _ in reversed(submitted):
            with suppress(HpcDlError):
                cancel(run)
        for run in created.values():
            if not (isinstance(error, MaybeQueued) and run.state.exists()):  # which says that it may be queued
                shutil.rmtree(run.path, ignore_errors=True)
        raise
    return submitted


def _create(step: PlannedStep, created: dict[str, RunFolder], runs: Path, command: list[str]) -> RunFolder:
    experiment = step.experiment
    trained = created[step.model] if step.model else None
    if trained is not None and not isinstance(step.config, EvaluateStep | ExportStep):
        model = experiment.model.model_copy(update={"init_from": str(trained.best_checkpoint)})
        experiment = dataclasses.replace(experiment, model=model)
    run = create(experiment, step.data, runs=runs, command=command)
    if step.earlier:
        predecessors.record(run, [created[name] for name in step.earlier])
    if trained is not None and isinstance(step.config, EvaluateStep):
        ModelTask(trained.path, split=step.config.split).write(run)
    if trained is not None and isinstance(step.config, ExportStep):
        ModelTask(trained.path, out=Path(step.config.out).absolute(), force=step.config.force).write(run)
    return run
