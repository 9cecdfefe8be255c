"""Asks a cluster what it offers: each query is bounded in time and may remain without an answer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hpc_dl.cluster import slurm
from hpc_dl.cluster.inspection import facts
from hpc_dl.cluster.inspection.storage import FileSystem, file_systems
from hpc_dl.errors import ClusterError
from hpc_dl.runs.provenance import user

_MODULES_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster offers to a user; ``None`` is unknown, since a command is missing or silent.

    Attributes:
        user: the user's name.
        host: the name of this login node.
        configuration: Slurm's settings; empty if unknown.
        partitions: those that the user may see.
        associations: the user's accounts.
        default_account: the account of jobs that name none; "" if unknown.
        qos: the time limit of each QoS, or "".
        reservations: those that are not over.
        modules: names of environment modules.
        loaded_modules: those that are loaded now.
        containers: the programs that run images (``apptainer``).
        storage: folders for runs and data.
    """

    user: str
    host: str
    configuration: Mapping[str, str]
    partitions: list[facts.Partition] | None
    associations: list[facts.Association] | None
    default_account: str
    qos: Mapping[str, str] | None
    reservations: list[facts.ReservedNodes] | None
    modules: list[str] | None
    loaded_modules: list[str]
    containers: list[str]
    storage: list[FileSystem]

    @property
    def cluster(self) -> str:
        """Slurm's name of the cluster; "" if unknown."""
        return self.configuration.get("ClusterName", "")


def inspect() -> ClusterFacts:
    """Ask Slurm and this login node; all questions at the same time.

    Raises:
        ClusterError: this machine has no Slurm, or Slurm says nothing about partitions.
    """
    if not any(map(shutil.which, ("sinfo", "scontrol"))):
        raise ClusterError.at(
            "Slurm", "neither sinfo nor scontrol was found", remedy="run this command on a login node of the cluster"
        )
    me = user()
    queries = {
        "sinfo": ("sinfo", "--noheader", "--exact", f"--format={facts.SINFO_FORMAT}"),
        "partitions": ("scontrol", "--oneliner", "show", "partition"),
        "reservations": ("scontrol", "--oneliner", "show", "reservation"),
        "associations": _accounting("assoc", f"user={me}", columns=facts.ASSOCIATION_COLUMNS),
        "default_account": _accounting("user", f"name={me}", columns=("DefaultAccount",)),
        "qos": _accounting("qos", columns=facts.QOS_COLUMNS),
    }
    with ThreadPoolExecutor(len(queries) + 2) as pool:
        asked = {name: pool.submit(slurm.answer, *command) for name, command in queries.items()}
        asked_configuration, asked_modules = pool.submit(slurm.configuration), pool.submit(available_modules)
        answers = {name: future.result() for name, future in asked.items()}
        configuration, modules = asked_configuration.result(), asked_modules.result()
    if answers["sinfo"] is None and answers["partitions"] is None:
        raise ClusterError.at("Slurm", "does not respond", remedy="try again in a minute; `sinfo` must list partitions")
    partitions = facts.read_sinfo(answers["sinfo"] or "")
    if answers["partitions"] is not None:
        partitions = facts.read_partitions(answers["partitions"], partitions)
    associations, qos, reservations = answers["associations"], answers["qos"], answers["reservations"]
    return ClusterFacts(
        user=me,
        host=socket.gethostname(),
        configuration=configuration,
        partitions=partitions,
        associations=None
        if associations is None
        else facts.read_associations(associations, configuration.get("ClusterName", "")),
        default_account=(answers["default_account"] or "").strip(),
        qos=None if qos is None else facts.read_qos(qos),
        reservations=None if reservations is None else facts.read_reservations(reservations),
        modules=modules,
        loaded_modules=[name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
        containers=[program for program in ("apptainer", "singularity") if shutil.which(program)],
        storage=file_systems(os.environ, me),
    )


def available_modules() -> list[str] | None:
    """Return the names of the environment modules; ``None`` if there are none, or no answer."""
    answer = module_command("avail", terse=True)
    if answer is None:
        return None
    lines = f"{answer.stdout}\n{answer.stderr}".splitlines()
    names = [line.strip().partition("(")[0] for line in lines if line.strip() and not line.rstrip().endswith(":")]
    return sorted({name.rstrip("/") for name in names if " " not in name})


def module_command(*arguments: str, terse: bool = False) -> subprocess.CompletedProcess[str] | None:
    """Run Lmod or Environment Modules, which only print the shell code for a change.

    Args:
        arguments: a command of ``module``, such as ``load`` and names.
        terse: one name a line.

    Returns:
        The finished command; ``None`` if this machine has no modules, or it does not respond.
    """
    program = os.environ.get("LMOD_CMD") or os.environ.get("MODULES_CMD") or shutil.which("modulecmd")
    if not program:
        return None
    try:
        return subprocess.run(
            [program, "bash", *(["-t"] if terse else []), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_MODULES_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _accounting(kind: str, *where: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    conditions = ("where", *where) if where else ()
    return ("sacctmgr", "--noheader", "--parsable2", "show", kind, *conditions, f"format={','.join(columns)}")
