"""Site profiles: what a cluster needs and no experiment should have to know (partition, account,
modules, folders).
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from hpc_dl import shipped
from hpc_dl.config import yaml
from hpc_dl.config.resources import parse_gib, parse_minutes
from hpc_dl.errors import ConfigError, Fault, nearest
from hpc_dl.schema import Section, Unit, parse

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

# Becomes part of an #SBATCH line: a space would begin another option, a line break a command.
Word = Annotated[str, Field(pattern=r"^[^\s'\"\\]+$")]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW", re.IGNORECASE)


class Container(Section):
    """An Apptainer image whose Python runs the job instead of the one that submits it."""

    image: str
    """Image file; ``$VARIABLES`` and ``~`` are expanded on the login node."""
    binds: list[str] = []
    """Folders to show inside besides the run's and the data's, as in ``apptainer --bind``."""
    args: list[str] = []
    """Further arguments of ``apptainer exec``."""


class Limits(Section):
    """The most that one job may ask for here; what is not given is not limited."""

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
    """What Slurm and the machines of one site need. Its keys never overlap those of an experiment."""

    description: str = ""
    """One line for people: which cluster, which part of it, whom to ask."""
    scheduler: Literal["auto", "slurm", "local"] = "auto"
    """Who runs the jobs: ``slurm``; ``local``, this machine in the background; ``auto``, Slurm
    where it is found."""
    partition: Word | None = None
    """Slurm partition; the cluster's default when not given."""
    account: Word | None = None
    """Slurm account (project) that is charged."""
    qos: Word | None = None
    """Slurm quality of service."""
    constraint: Word | None = None
    """Node features, in Slurm's syntax (``a100&nvlink``)."""
    reservation: Word | None = None
    """Slurm reservation, for example a course's."""
    gpu_type: Word | None = None
    """Slurm's name for the GPU model: ``--gpus-per-node=TYPE:N`` is asked for."""
    exclusive: bool = False
    """Ask for whole nodes."""
    modules: list[str] = []
    """Environment modules, loaded in this order before anything else."""
    setup: list[str] = []
    """Shell lines, run on the first node after the modules, exactly as they stand here."""
    environment: dict[str, str] = {}
    """Environment variables of the job. Not for secrets: they would end up in every job script."""
    runs_dir: str | None = None
    """Where run folders go; on a file system that all nodes share. ``$VARIABLES`` and ``~`` are
    expanded."""
    data_dir: str | None = None
    """Where data files are kept; as ``runs_dir``."""
    container: Container | None = None
    """Run the job inside this image."""
    limits: Limits = Limits()
    """The most that a job may ask for, checked before it is submitted."""

    @field_validator("environment")
    @classmethod
    def _environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if _SECRET.search(name):
                raise ValueError(f"{name} looks like a secret: export it in your shell instead, sbatch passes it on")
        return value

    def runs(self) -> Path | None:
        """The expanded ``runs_dir``, or ``None`` where the profile has none.

        Raises:
            ConfigError: it holds a variable that is not set.
        """
        return None if self.runs_dir is None else expand("runs_dir", self.runs_dir)

    def data(self) -> Path | None:
        """The expanded ``data_dir``, or ``None`` where the profile has none.

        Raises:
            ConfigError: it holds a variable that is not set.
        """
        return None if self.data_dir is None else expand("data_dir", self.data_dir)

    def check(self, experiment: Experiment) -> None:
        """Compare what the experiment asks for with what the site allows.

        Raises:
            ConfigError: with one fault for each limit that is exceeded.
        """
        asked, most = experiment.resources, self.limits
        cpus_per_node = asked.ranks_per_node * asked.cpus_per_gpu
        faults = []

        def compare(where: str, wanted: float, limit: float | None, value: object, allowed: object, what: str) -> None:
            if limit is not None and wanted > limit:
                faults.append(Fault(where, f"more {what} than this site allows", value, f"at most {allowed}"))

        compare("resources.nodes", asked.nodes, most.nodes, asked.nodes, most.nodes, "nodes")
        compare(
            "resources.gpus_per_node",
            asked.gpus_per_node,
            most.gpus_per_node,
            asked.gpus_per_node,
            most.gpus_per_node,
            "GPUs per node",
        )
        compare(
            "resources.cpus_per_gpu",
            cpus_per_node,
            most.cpus_per_node,
            asked.cpus_per_gpu,
            f"{most.cpus_per_node} for the {asked.ranks_per_node} ranks of a node together",
            "CPU cores per node",
        )
        memory_limit = None if most.memory is None else parse_gib(most.memory)
        compare("resources.memory", asked.memory_gib, memory_limit, asked.memory, most.memory, "memory per node")
        time_limit = None if most.time is None else parse_minutes(str(most.time))
        compare("resources.time", asked.minutes, time_limit, asked.time, most.time, "time")
        if faults:
            raise ConfigError(*faults)


def load(word: str | None) -> SiteProfile:
    """The profile of a site.

    Args:
        word: a name (``slurm/sites/NAME.yaml``), a YAML file, or ``None`` for ``$HPC_DL_SITE``,
            else the empty profile.

    Raises:
        ConfigError: there is none of that name, or the file has faults; each is told with the file
            and its dotted path.
    """
    word = word or os.environ.get("HPC_DL_SITE")
    if not word:
        return SiteProfile()
    path = _find(word)
    try:
        return parse(SiteProfile, yaml.load(path), "")
    except ConfigError as error:
        named = [
            f if str(path) in f.where else dataclasses.replace(f, where=f"{path}: {f.where}") for f in error.faults
        ]
        raise ConfigError(*named) from None


def expand(key: str, text: str) -> Path:
    """A path with its ``$VARIABLES`` and ``~`` replaced, absolute.

    Raises:
        ConfigError: a variable is not set here.
    """
    expanded = os.path.expandvars(os.path.expanduser(text))
    if "$" in expanded:
        raise ConfigError.at(f"site {key}", "holds a variable that is not set here", value=text)
    return Path(expanded).absolute()


def _folders() -> list[Path]:
    named = os.environ.get("HPC_DL_SITES")
    folders = [Path(named)] if named else []
    return [*folders, Path("slurm/sites"), shipped.path("slurm/sites")]


def _find(word: str) -> Path:
    if "/" in word or word.endswith((".yaml", ".yml")):
        return Path(word).expanduser()
    for folder in _folders():
        if (path := folder / f"{word}.yaml").is_file():
            return path
    names = sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})
    raise ConfigError.at(
        "site",
        "is not known",
        value=word,
        allowed=", ".join(names) or "none is in $HPC_DL_SITES or slurm/sites",
        remedy=nearest(word, names) or "write slurm/sites/NAME.yaml (docs/sites.md) or name a file",
    )
