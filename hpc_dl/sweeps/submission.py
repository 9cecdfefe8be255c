"""Submission of the members of a sweep: job arrays on Slurm, or a process of this machine."""

from __future__ import annotations

import functools
import os
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster import background, slurm, submit_limits
from hpc_dl.cluster.job_environment import outside_of_jobs
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.signal_lead import required_lead_s
from hpc_dl.cluster.submit import sbatch, uses_slurm
from hpc_dl.errors import ClusterError
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.batch_script import ScriptExecutor
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_DEFAULT_ARRAY_SIZE = 1001  # Slurm's default of MaxArraySize
_PROPOSAL = "-u -m hpc_dl.sweeps.adaptive"
_PLACEHOLDER = "N"


class Submitted(NamedTuple):
    """What Slurm accepted of a sweep.

    Attributes:
        submissions: the content of ``job.json`` of each job array.
        left: the runs for which a limit of Slurm leaves no place in the queue now.
        limit: that limit, for people; empty if there is none.
    """

    submissions: list[dict[str, Any]]
    left: list[RunFolder]
    limit: str = ""

    @property
    def remedy(self) -> str:
        """What the user can do about the runs that are left; empty if there are none."""
        if not self.left:
            return ""
        sweep = self.left[0].path.parent.name
        return (
            f"Slurm's limit {self.limit} allows no more jobs now. Submit the other {len(self.left)} with "
            f"`hpc-dl resume {sweep}` when some have ended, or put several in one job with sweep.per_task."
        )


def submit_members(
    sweep: SweepFolder,
    runs: Sequence[RunFolder],
    config: SweepConfig,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
) -> Submitted:
    """Submit members, which all have the resources of the experiment and a snapshot of the code.

    Args:
        sweep: the sweep.
        runs: the run folders of the members.
        config: its section.
        experiment: one of the members' experiments.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Returns:
        What was submitted, and what was not because of a limit on the number of jobs.

    Raises:
        ClusterError: Slurm refuses; the members that it accepted before are left alone.
    """
    if not uses_slurm(site):
        return Submitted([_start_locally(sweep, runs, config, experiment, site)], [])
    tasks = tasks_of([run.name for run in runs], config.per_task)
    size = largest_array()
    adaptive = any(run.trial.exists() for run in runs)  # also where sweep.yaml has another method by now
    submissions: list[dict[str, Any]] = []
    by_name = {run.name: run for run in runs}
    waiting, limit = tasks, ""
    while waiting and not (limit and submissions):
        part = waiting[:size]
        array = sweep.new_array()
        write_tasks(array, part, by_name[part[0][0]])
        after = submissions[-1]["job_id"] if submissions and config.at_once else None
        make = functools.partial(
            _executor, array, sweep, len(part), config, experiment, site, data_dir, after, adaptive
        )
        try:
            job = sbatch(array, make, experiment, site)
        except ClusterError as refusal:
            allowed = submit_limits.allowance(str(refusal), site)
            size = min(allowed.jobs, len(part) - 1) if allowed else 0
            if allowed is None or limit or not (size or submissions):
                raise
            limit = allowed.limit
            continue
        waiting = waiting[len(part) :]
        submitted = {"launcher": "slurm", "host": socket.gethostname(), "submitted": _now()}
        submissions.append({**submitted, **job.facts()})
        write_json(array.job, submissions[-1])
        for number, names in enumerate(part):
            facts = {**submitted, **JobId(job.number, str(number), job.cluster).facts()}
            for name in names:
                shared = {"members": len(names), "side_by_side": config.side_by_side} if len(names) > 1 else {}
                write_json(by_name[name].job, facts | shared)
    return Submitted(submissions, [by_name[name] for names in waiting for name in names], limit)


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
    return _executor(array, sweep, tasks, config, experiment, site, data_dir, None, config.adaptive).script()


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
    adaptive: bool,
) -> ScriptExecutor:
    from hpc_dl.cluster.array_script import array_executor

    lead_s = required_lead_s(sweep.path, experiment.name)
    proposal = _PROPOSAL if adaptive else ""
    executor = array_executor(
        array,
        sweep.path,
        num_tasks,
        config.tasks_at_once,
        experiment,
        site,
        data_dir,
        lead_s,
        before_member=proposal,
        side_by_side=config.per_task if config.side_by_side else 1,
    )
    if after is not None:  # so that the limit of `parallel` holds for all arrays together
        executor.options = {**executor.options, "dependency": f"afterany:{after}"}
    return executor


def write_tasks(array: RunFolder, tasks: Sequence[Sequence[str]], like: RunFolder) -> None:
    """Write what the tasks of a job array run.

    Args:
        array: the folder of the array.
        tasks: the names of the members of each task.
        like: a member, whose code and folder of own code all of them have.
    """
    write_text(array.path / "tasks", "".join(f"{' '.join(names)}\n" for names in tasks))
    snapshot.link(array, like.code.resolve())
    write_json(array.provenance, {"folder": read_provenance(like).get("folder")})


def _start_locally(
    sweep: SweepFolder, runs: Sequence[RunFolder], config: SweepConfig, experiment: Experiment, site: SiteProfile
) -> dict[str, Any]:
    """Start a process that runs the members as far as there are CPU cores for them."""
    array = sweep.new_array()
    write_tasks(array, [[run.name] for run in runs], runs[0])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = max(1, cores // (experiment.resources.cpus_per_gpu * experiment.resources.world_size))
    at_once = min(at_once, config.at_once or at_once)
    arguments = ["hpc_dl.sweeps.background", str(array.path), str(at_once)]
    environment = outside_of_jobs(os.environ) | site.variables()
    facts = {**background.start_detached(arguments, environment, array), "at_once": at_once}
    for run in runs:  # so that their status, and what waits for them, know that they will be started
        write_json(run.job, facts | {"members": len(runs)})
    write_json(array.job, facts)  # the process waits for it
    return facts


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
