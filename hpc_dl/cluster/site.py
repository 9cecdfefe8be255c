"""Site profiles: the settings of a cluster that are not part of an experiment."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from hpc_dl.cluster import profile_files, sbatch_options
from hpc_dl.cluster.notify_config import Notify
from hpc_dl.cluster.reservation import Reservations, in_use
from hpc_dl.cluster.sbatch_options import SbatchValue
from hpc_dl.config import yaml
from hpc_dl.config.resources import parse_gib, parse_minutes
from hpc_dl.data.staging.scratch import SCRATCH
from hpc_dl.errors import ConfigError, Fault, nearest
from hpc_dl.schema import Section, Unit, parse

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# In double quotes in the batch script, and in a list of folders for the container.
_SCRATCH_DIR = re.compile(r"[/$][^\s\"`\\(,:]*")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class Container(Section):
    """An Apptainer image whose Python runs the job, instead of the Python that submits it."""

    image: str
    """Image file; ``$VARIABLES`` and ``~`` are expanded on the login node."""
    binds: list[str] = []
    """Folders to bind in addition to those of the run and the data, as in ``apptainer --bind``."""
    args: list[str] = []
    """Additional arguments of ``apptainer exec``."""


class Limits(Section):
    """The largest job that the site allows; omitted keys are not limited."""

    nodes: Annotated[int | None, Field(ge=1), Unit("nodes")] = None
    """Number of nodes."""
    gpus_per_node: Annotated[int | None, Field(ge=0), Unit("GPUs")] = None
    """GPUs on each node."""
    cpus_per_node: Annotated[int | None, Field(ge=1), Unit("CPU cores")] = None
    """CPU cores on each node."""
    memory: Annotated[str | None, Unit("per node")] = None
    """Main memory on each node, with its unit (``500G``)."""
    time: Annotated[str | int | None, Unit("minutes, HH:MM:SS or D-HH:MM:SS")] = None
    """Longest time limit, in Slurm's formats."""

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None:
            parse_gib(value)
        return value

    @field_validator("time")
    @classmethod
    def _time(cls, value: str | int | None) -> str | int | None:
        if value is not None:
            parse_minutes(str(value))
        return value


class SiteProfile(Section):
    """The settings of one site. Its keys never overlap those of an experiment."""

    description: str = ""
    """One line for users: which cluster, which part of it, whom to ask for help."""
    hosts: list[str] = []
    """Names of login nodes, with ``*`` and ``?``: without ``--site`` and ``$HPC_DL_SITE``, commands
    on these use the profile if it is in ``~/.config/hpc_dl/sites``."""
    scheduler: Literal["auto", "slurm", "local"] = "auto"
    """Where jobs run: ``slurm``; ``local``, in the background of this machine; ``auto``, Slurm if
    it is installed, else local."""
    partition: SbatchValue | None = None
    """Slurm partition, or several (``a,b``), of which Slurm takes the first that can start the job;
    default: the cluster's default partition."""
    account: SbatchValue | None = None
    """Slurm account (project) to charge."""
    qos: SbatchValue | None = None
    """Slurm quality of service."""
    constraint: SbatchValue | None = None
    """Node features, in Slurm's syntax (``a100&nvlink``)."""
    reservation: Reservations | None = None
    """Slurm reservation, for example a course's: its name; or ``{name: …, from: …, until: …}`` or a
    list of these, which are only used during these times."""
    gpu_type: SbatchValue | None = None
    """Slurm's name for the GPU model, for ``--gpus-per-node=TYPE:N``."""
    exclusive: bool = False
    """Request whole nodes."""
    sbatch: dict[str, str | int | float | bool | None] = {}
    """Any other options of sbatch, by their long names without dashes; they replace those that
    hpc_dl writes. ``null`` omits an option, ``true`` gives it without a value. ``{nodes}``,
    ``{gpus_per_node}``, ``{gpus}``, ``{cpus_per_gpu}``, ``{memory}``, ``{memory_per_cpu}`` and
    ``{memory_per_gpu}`` (in MiB) stand for what the experiment requests."""
    modules: list[str] = []
    """Environment modules, loaded first, in this order."""
    setup: list[str] = []
    """Shell lines, run unchanged on the first node after the modules are loaded."""
    environment: dict[str, str] = {}
    """Environment variables of the job; no secrets: they would appear in every batch script."""
    runs_dir: str | None = None
    """Folder of all runs, on a file system that all nodes share. ``$VARIABLES`` and ``~`` are
    expanded."""
    data_dir: str | None = None
    """Folder of the data files; like ``runs_dir``."""
    scratch_dir: str | None = None
    """Folder on a disk of each node, for ``data.stage: node``; ``$VARIABLES`` are expanded on the
    node. Default: ``$SLURM_TMPDIR``, ``$TMPDIR`` or ``/tmp``, the first that exists there."""
    container: Container | None = None
    """Image to run the job in."""
    notify: Notify | None = None
    """What reports the end of a run."""
    limits: Limits = Limits()
    """The largest job that the site allows, checked before a job is submitted."""

    @field_validator("environment")
    @classmethod
    def _environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if _SECRET.search(name):
                raise ValueError(
                    f"{name} looks like a secret: export it in your shell instead; sbatch passes it to the job"
                )
        return value

    @field_validator("scratch_dir")
    @classmethod
    def _scratch_dir(cls, value: str | None) -> str | None:
        if value is not None and not _SCRATCH_DIR.fullmatch(value):
            raise ValueError('must begin with / or a $VARIABLE, without spaces and any of " ` \\ ( , :')
        return value

    @field_validator("sbatch")
    @classmethod
    def _sbatch(cls, value: dict[str, str | int | float | bool | None]) -> dict[str, str | int | float | bool | None]:
        for name, setting in value.items():
            if problem := sbatch_options.fault_in(name, setting):
                raise ValueError(f"{name} {problem}. {nearest(name, sbatch_options.known_options())}".rstrip(". "))
        if pair := sbatch_options.contradiction(value):
            raise ValueError(f"{pair[0]} and {pair[1]} exclude each other: omit one of them")
        return value

    def variables(self) -> dict[str, str]:
        """Return the environment variables of a job without a batch script."""
        return self.environment | ({SCRATCH: self.scratch_dir} if self.scratch_dir else {})

    def runs(self) -> Path | None:
        """Return the expanded ``runs_dir``; ``None`` if the profile has none.

        Raises:
            ConfigError: it contains a variable that is not set.
        """
        return None if self.runs_dir is None else expand("runs_dir", self.runs_dir)

    def data(self) -> Path | None:
        """Return the expanded ``data_dir``; ``None`` if the profile has none.

        Raises:
            ConfigError: it contains a variable that is not set.
        """
        return None if self.data_dir is None else expand("data_dir", self.data_dir)

    def current_reservation(self) -> str | None:
        """Return the reservation that jobs use now."""
        return in_use(self.reservation)

    def dumps(self) -> str:
        """Return the profile as YAML."""
        return yaml.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True))

    def check(self, experiment: Experiment) -> None:
        """Check that the experiment's resources are within the site's limits.

        Raises:
            ConfigError: with one fault for each exceeded limit.
        """
        requested, limits = experiment.resources, self.limits
        cpus_per_node = requested.ranks_per_node * requested.cpus_per_gpu
        faults = []

        def compare(
            where: str, amount: float, limit: float | None, value: object, allowed: object, resource: str
        ) -> None:
            if limit is not None and amount > limit:
                faults.append(Fault(where, f"more {resource} than this site allows", value, f"at most {allowed}"))

        compare("resources.nodes", requested.nodes, limits.nodes, requested.nodes, limits.nodes, "nodes")
        compare(
            "resources.gpus_per_node",
            requested.gpus_per_node,
            limits.gpus_per_node,
            requested.gpus_per_node,
            limits.gpus_per_node,
            "GPUs per node",
        )
        compare(
            "resources.cpus_per_gpu",
            cpus_per_node,
            limits.cpus_per_node,
            requested.cpus_per_gpu,
            f"{limits.cpus_per_node} for the {requested.ranks_per_node} ranks of a node together",
            "CPU cores per node",
        )
        memory_limit = None if limits.memory is None else parse_gib(limits.memory)
        compare(
            "resources.memory", requested.memory_gib, memory_limit, requested.memory, limits.memory, "memory per node"
        )
        time_limit = None if limits.time is None else parse_minutes(str(limits.time))
        compare("resources.time", requested.minutes, time_limit, requested.time, limits.time, "time")
        if faults:
            raise ConfigError(*faults)


def load(name: str | None) -> SiteProfile:
    """Load the profile of a site.

    Args:
        name: a name or a YAML file; ``None`` for ``$HPC_DL_SITE``, then the profile of this host,
            else the empty profile.

    Raises:
        ConfigError: there is no such profile, or it has faults; each is reported with the file and
            its dotted path.
    """
    path = profile_files.chosen(name)
    if path is None:
        return SiteProfile()
    try:
        return parse(SiteProfile, yaml.load(path), "")
    except ConfigError as error:
        with_file = [
            f if str(path) in f.where else dataclasses.replace(f, where=f"{path}: {f.where}") for f in error.faults
        ]
        raise ConfigError(*with_file) from None


def expand(key: str, text: str) -> Path:
    """Return an absolute path, with ``$VARIABLES`` and ``~`` expanded.

    Raises:
        ConfigError: a variable is not set here.
    """
    expanded = os.path.expandvars(os.path.expanduser(text))
    if "$" in expanded:
        raise ConfigError.at(f"site {key}", "contains a variable that is not set here", value=text)
    return Path(expanded).absolute()
