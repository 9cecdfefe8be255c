"""Submission of the members of a sweep: job arrays on Slurm, or a process of this machine."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster import background, slurm
from hpc_dl.cluster.job_environment import outside_of_jobs
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.signal_lead import required_lead_s
from hpc_dl.cluster.submit import sbatch, uses_slurm
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.batch_script import ScriptExecutor
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_DEFAULT_ARRAY_SIZE = 1001  # Slurm's default of MaxArraySize
_PROPOSAL = "-u -m hpc_dl.sweeps.adaptive"
_PLACEHOLDER = "N"


def submit_members(
    sweep: SweepFolder,
    runs: Sequence[RunFolder],
    config: SweepConfig,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
) -> list[dict[str, Any]]:
    """Submit members, which all have the resources of the experiment and a snapshot of the code.

    Args:
        sweep: the sweep.
        runs: the run folders of the members.
        config: its section.
        experiment: one of the members' experiments.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Returns:
        The content of ``job.json`` of each submission.

    Raises:
        ClusterError: Slurm refuses; the members that it accepted before are left alone.
    """
    if not uses_slurm(site):
        return [_start_locally(sweep, runs, config, experiment, site)]
    tasks = tasks_of([run.name for run in runs], config.per_task)
    size = largest_array()
    submissions: list[dict[str, Any]] = []
    by_name = {run.name: run for run in runs}
    for start in range(0, len(tasks), size):
        part = tasks[start : start + size]
        array = sweep.new_array()
        _write_tasks(array, part, by_name[part[0][0]])
        after = submissions[-1]["job_id"] if submissions and config.at_once else None
        job = sbatch(
            array,
            lambda array=array, part=part, after=after: _executor(  # type: ignore[misc]
                array, sweep, len(part), config, experiment, site, data_dir, after
            ),
            experiment,
            site,
        )
        submitted = {"launcher": "slurm", "host": socket.gethostname(), "submitted": _now()}
        submissions.append({**submitted, **job.facts()})
        write_json(array.job, submissions[-1])
        for number, names in enumerate(part):
            facts = {**submitted, **JobId(job.number, str(number), job.cluster).facts()}
            for name in names:
                write_json(by_name[name].job, facts | ({"members": len(names)} if len(names) > 1 else {}))
    return submissions


def script_of(
    sweep: SweepFolder,
    num_members: int,
    config: SweepConfig,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
) -> str:
    """Return the batch script of the first job array of a submission; writes nothing."""
    tasks = min(-(-num_members // config.per_task), largest_array())
    array = RunFolder(sweep.arrays / _PLACEHOLDER)
    return _executor(array, sweep, tasks, config, experiment, site, data_dir, None).script()


def tasks_of(names: Sequence[str], per_task: int) -> list[list[str]]:
    """Return the members of each task."""
    return [list(names[start : start + per_task]) for start in range(0, len(names), per_task)]


def largest_array() -> int:
    """The number of tasks that a job array may have here."""
    text = slurm.configuration().get("MaxArraySize", "")
    return max(1, int(text)) if re.fullmatch(r"\d+", text) else _DEFAULT_ARRAY_SIZE


def _executor(
    array: RunFolder,
    sweep: SweepFolder,
    num_tasks: int,
    config: SweepConfig,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
    after: str | None,
) -> ScriptExecutor:
    from hpc_dl.cluster.array_script import array_executor

    lead_s = required_lead_s(sweep.path, experiment.name)
    proposal = _PROPOSAL if config.adaptive else ""
    executor = array_executor(
        array, sweep.path, num_tasks, config.at_once, experiment, site, data_dir, lead_s, proposal
    )
    if after is not None:  # so that the limit of `parallel` holds for all arrays together
        executor.options = {**executor.options, "dependency": f"afterany:{after}"}
    return executor


def _write_tasks(array: RunFolder, tasks: Sequence[Sequence[str]], like: RunFolder) -> None:
    write_text(array.path / "tasks", "".join(f"{' '.join(names)}\n" for names in tasks))
    snapshot.link(array, like.code.resolve())


def _start_locally(
    sweep: SweepFolder, runs: Sequence[RunFolder], config: SweepConfig, experiment: Experiment, site: SiteProfile
) -> dict[str, Any]:
    """Start a process that runs the members as far as there are CPU cores for them."""
    array = sweep.new_array()
    _write_tasks(array, [[run.name] for run in runs], runs[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = max(1, cores // (experiment.resources.cpus_per_gpu * experiment.resources.world_size))
    at_once = min(at_once, config.at_once or at_once)
    arguments = ["hpc_dl.sweeps.background", str(array.path), str(at_once)]
    environment = outside_of_jobs(os.environ) | site.environment
    facts = {**background.start_detached(arguments, environment, array), "at_once": at_once}
    write_json(array.job, facts)
    return facts


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
