"""When Slurm would start a job: on each partition, and in shapes that train the same."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.cluster import slurm
from hpc_dl.cluster.batch_script import executor
from hpc_dl.cluster.job_environment import outside_of_jobs
from hpc_dl.cluster.submit import sbatch_message, uses_slurm
from hpc_dl.config.resources import Resources, parse_minutes
from hpc_dl.errors import ClusterError, ConfigError
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_TIMEOUT_S = 60.0
_START = re.compile(r"Job \d+ to start at (\S+) using .*?(?: in partition (\S+))?$", re.MULTILINE)


@dataclass(frozen=True)
class StartTime:
    """The expected start of a job.

    Attributes:
        experiment: with the resources that were asked for.
        site: with the partition that was asked for.
        start: when it would start, in the time zone of the cluster; ``None`` if Slurm refuses it.
        refusal: why, in Slurm's words; else empty.
    """

    experiment: Experiment
    site: SiteProfile
    start: datetime.datetime | None
    refusal: str = ""

    @property
    def partition(self) -> str:
        """The partition that was asked for; "" for the default one."""
        return self.site.partition or ""

    @property
    def resources(self) -> Resources:
        """The resources that were asked for."""
        return self.experiment.resources


def start_times(
    experiment: Experiment, site: SiteProfile, data_dir: Path | None, say: Callable[[str], None] = lambda line: None
) -> list[StartTime]:
    """Ask Slurm (``sbatch --test-only``) when an experiment would start, without submitting it.

    Args:
        experiment: the experiment.
        site: the site profile. Its ``partition`` may name several, ``a,b``; without one, all
            partitions of the cluster are asked about.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        say: prints one line for the user.

    Returns:
        For each partition and shape, earliest start first; of equal ones that with the resources
        as given. What Slurm refuses comes last.

    Raises:
        ClusterError: this machine has no Slurm, or it does not respond.
    """
    if not uses_slurm(site):
        raise ClusterError.at("start-time", "needs Slurm's sbatch, and runs of this site do not go to Slurm")
    partitions: list[str | None] = [*(site.partition.split(",") if site.partition else slurm.partitions())]
    limits = {facts.get("PartitionName", ""): facts.get("MaxTime", "") for facts in slurm.partition_facts()}
    limits = {name: limit for name, limit in limits.items() if limit[:1].isdigit()}  # not UNLIMITED
    found = []
    for resources in equivalent_shapes(experiment.resources):
        shaped = replace(experiment, resources=resources)
        for partition in dict.fromkeys(partitions or [None]):
            chosen = site.model_copy(update={"partition": partition})
            try:
                chosen.check(shaped)
            except ConfigError:  # beyond the limits of the site
                continue
            if (limit := limits.get(partition or "")) and experiment.resources.minutes > parse_minutes(limit):
                # Without EnforcePartLimits, sbatch accepts such a job, which then never starts.
                found.append(StartTime(shaped, chosen, None, f"the partition's time limit is {limit}"))
                continue
            say(f"Asking Slurm about {partition or 'the default partition'}, {described(resources)}")
            found.append(ask(shaped, chosen, data_dir))
    return sorted(found, key=lambda option: (option.start is None, option.start or datetime.datetime.max))


def earliest(options: list[StartTime]) -> StartTime:
    """Return the option that starts first.

    Raises:
        ClusterError: Slurm refuses all of them.
    """
    if not options or options[0].start is None:
        refusals = dict.fromkeys(option.refusal for option in options)
        raise ClusterError.at("sbatch", "; ".join(refusals) or "the site's limits allow no shape of this job")
    return options[0]


def equivalent_shapes(resources: Resources) -> list[Resources]:
    """Return all ways to spread the same GPUs over nodes, as given first; memory per GPU is kept.

    With the same number of ranks and the same batch on each, the training is the same.
    """
    gpus = resources.nodes * resources.gpus_per_node
    memory_per_gpu_mib = resources.memory_gib * 1024 / resources.ranks_per_node
    shapes = [resources]
    for per_node in range(1, gpus + 1):
        if gpus % per_node == 0 and per_node != resources.gpus_per_node:
            memory = f"{round(memory_per_gpu_mib * per_node)}M"
            changes = {"nodes": gpus // per_node, "gpus_per_node": per_node, "memory": memory}
            shapes.append(resources.model_copy(update=changes))
    return shapes


def described(resources: Resources) -> str:
    """Describe a shape: ``2 nodes x 4 GPUs``."""
    nodes = f"{resources.nodes} node{'s' if resources.nodes > 1 else ''}"
    gpus = resources.gpus_per_node
    return f"{nodes} x {gpus} GPU{'s' if gpus > 1 else ''}" if gpus else nodes


def ask(experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> StartTime:
    """Ask Slurm about one job, without submitting it.

    Args:
        experiment: the experiment.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Raises:
        ClusterError: Slurm does not respond.
    """
    run = RunFolder(Path.cwd() / f"{experiment.name}-test-only")  # need not exist
    environment = outside_of_jobs(os.environ)
    try:
        done = subprocess.run(
            ["sbatch", "--test-only"],
            input=executor(run, experiment, site, data_dir).script(),
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise ClusterError.at("sbatch", "Slurm does not respond", remedy="try again in a minute") from None
    output = f"{done.stdout}\n{done.stderr}"
    if (match := _START.search(output)) and done.returncode == 0:
        try:
            return StartTime(experiment, site, datetime.datetime.fromisoformat(match[1]))
        except ValueError:
            pass
    message = sbatch_message(output).removeprefix("allocation failure: ")
    if "contact" in message.lower():
        raise ClusterError.at("sbatch", message, remedy="try again in a minute")
    return StartTime(experiment, site, None, message)
