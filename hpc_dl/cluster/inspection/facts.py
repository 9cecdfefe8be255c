"""Slurm's answers as data: each function reads the text of one command, of Slurm 20.11 to 25.x."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hpc_dl.cluster.slurm import key_values

#: The columns of sinfo that :func:`read_sinfo` reads.
SINFO_FORMAT = "%P|%a|%D|%c|%m|%G|%f|%l"
#: Those of sacctmgr for associations and for QoS.
ASSOCIATION_COLUMNS = ("Cluster", "Account", "Partition", "QOS", "DefaultQOS")
QOS_COLUMNS = ("Name", "MaxWall")

_NONE = ("", "(null)", "N/A", "n/a", "NONE", "UNLIMITED", "INFINITE", "infinite")


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition with the same hardware.

    Attributes:
        count: how many.
        cpus: CPU cores of each, as Slurm counts them.
        memory_mib: main memory of each, in MiB.
        gpus: GPUs of each, by Slurm's name of the model; "" for GPUs without a name.
        features: what ``--constraint`` may ask for.
    """

    count: int
    cpus: int
    memory_mib: int
    gpus: dict[str, int] = field(default_factory=dict, hash=False)
    features: frozenset[str] = frozenset()

    @property
    def num_gpus(self) -> int:
        """GPUs of each node."""
        return sum(self.gpus.values())


@dataclass(frozen=True)
class Permission:
    """Which accounts or QoS a partition takes."""

    allowed: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()

    def permits(self, name: str) -> bool:
        """Whether the partition takes this one; Slurm ignores upper and lower case."""
        name = name.lower()
        return name not in self.denied and (self.allowed is None or name in self.allowed)


@dataclass(frozen=True)
class Partition:
    """A partition; ``None`` and empty values are unlimited or unknown.

    Attributes:
        name: its name.
        default: whether jobs without a partition go there.
        up: whether it takes and starts jobs.
        time_limit: in Slurm's format (``1-00:00:00``).
        max_nodes: of one job.
        max_cpus: of one job on a node.
        max_memory_mib: likewise.
        accounts: those that may use it.
        qos: likewise.
        own_qos: the QoS whose limits hold for all of its jobs.
        only_in_reservations: whether jobs need a reservation.
        nodes: its nodes.
        total_gpus: GPUs of all nodes.
    """

    name: str
    default: bool = False
    up: bool = True
    time_limit: str = ""
    max_nodes: int | None = None
    max_cpus: int | None = None
    max_memory_mib: int | None = None
    accounts: Permission = Permission()
    qos: Permission = Permission()
    own_qos: str = ""
    only_in_reservations: bool = False
    nodes: tuple[NodeKind, ...] = ()
    total_gpus: int = 0


@dataclass(frozen=True)
class Association:
    """What a user may charge: an account, on one partition or on all (""), with these QoS."""

    account: str
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""


@dataclass(frozen=True)
class ReservedNodes:
    """A reservation, with its times as Slurm writes them (``2026-11-30T09:00:00``)."""

    name: str
    start: str
    end: str
    partition: str
    users: frozenset[str]
    accounts: frozenset[str]


def read_sinfo(text: str) -> list[Partition]:
    """Read ``sinfo --exact --format=SINFO_FORMAT``: a line for each kind of node of a partition."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        columns = [column.strip() for column in line.split("|")]
        if len(columns) != SINFO_FORMAT.count("|") + 1 or not columns[0]:
            continue
        name, available, count, cpus, memory, gres, features, time_limit = columns
        kind = NodeKind(_number(count) or 0, _number(cpus) or 0, _number(memory) or 0, gpus_in(gres), _names(features))
        plain = name.removesuffix("*")
        known = found.get(plain) or Partition(plain, name != plain, available == "up", _text(time_limit))
        found[plain] = replace(
            known, nodes=(*known.nodes, kind), total_gpus=known.total_gpus + kind.count * kind.num_gpus
        )
    return list(found.values())


def read_partitions(text: str, known: Iterable[Partition] = ()) -> list[Partition]:
    """Read ``scontrol --oneliner show partition``.

    Args:
        text: the answer.
        known: what sinfo says, with the nodes; it does not list what is hidden from the user.
    """
    by_name = {partition.name: partition for partition in known}
    found = []
    for line in text.splitlines():
        facts = key_values(line)
        name = facts.get("PartitionName", "")
        if not name or (by_name and name not in by_name) or facts.get("RootOnly") == "YES":
            continue
        gpus = re.search(r"gres/gpu=(\d+)", facts.get("TRES", ""))
        base = by_name.get(name, Partition(name, total_gpus=int(gpus[1]) if gpus else 0))
        found.append(
            replace(
                base,
                default=facts.get("Default") == "YES",
                up=facts.get("State", "UP") == "UP",
                time_limit=_text(facts.get("MaxTime", "")),
                max_nodes=_number(facts.get("MaxNodes", "")),
                max_cpus=_number(facts.get("MaxCPUsPerNode", "")),
                max_memory_mib=_number(facts.get("MaxMemPerNode", "")) or None,
                accounts=_permission(facts, "Accounts"),
                qos=_permission(facts, "Qos"),
                own_qos=_text(facts.get("QoS", "")),
                only_in_reservations=facts.get("ReqResv") == "YES",
            )
        )
    return found


def gpus_in(gres: str) -> dict[str, int]:
    """Read the generic resources of a node: ``gpu:a100:4(S:0-1),nvme:1`` has ``{"a100": 4}``."""
    found: dict[str, int] = {}
    for resource in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, *rest = resource.strip().split(":")
        if kind == "gpu":
            count = int(rest.pop()) if rest and rest[-1].isdigit() else 1
            model = rest[0] if rest else ""
            found[model] = found.get(model, 0) + count
    return found


def read_associations(text: str, cluster: str = "") -> list[Association]:
    """Read ``sacctmgr -nP show assoc format=ASSOCIATION_COLUMNS`` of a user.

    Args:
        text: the answer.
        cluster: only those of this cluster; "" for all.
    """
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == len(ASSOCIATION_COLUMNS) - 1]
    return [
        Association(account, partition, tuple(filter(None, qos.split(","))), default)
        for of_cluster, account, partition, qos, default in rows
        if account and (not cluster or of_cluster == cluster)
    ]


def read_qos(text: str) -> dict[str, str]:
    """Read ``sacctmgr -nP show qos format=QOS_COLUMNS``: the time limit of each QoS, or ""."""
    return {name: _text(limit) for name, _, limit in (line.partition("|") for line in text.splitlines()) if name}


def read_reservations(text: str) -> list[ReservedNodes]:
    """Read ``scontrol --oneliner show reservation``; those for maintenance are left out."""
    found = []
    for facts in map(key_values, text.splitlines()):
        if (name := facts.get("ReservationName")) and "MAINT" not in facts.get("Flags", ""):
            users, accounts = _names(facts.get("Users", "")), _names(facts.get("Accounts", ""))
            times = facts.get("StartTime", ""), facts.get("EndTime", "")
            found.append(ReservedNodes(name, *times, _text(facts.get("PartitionName", "")), users, accounts))
    return found


def _permission(facts: dict[str, str], kind: str) -> Permission:
    allowed = facts.get(f"Allow{kind}", "ALL")
    denied = _names(facts.get(f"Deny{kind}", "").lower())
    return Permission(None if allowed in ("ALL", *_NONE) else _names(allowed.lower()), denied)


def _names(text: str) -> frozenset[str]:
    return frozenset() if text in _NONE else frozenset(text.split(","))


def _text(value: str) -> str:
    return "" if value in _NONE else value


def _number(text: str) -> int | None:
    digits = text.rstrip("+")  # sinfo writes the least of several: 64+
    return int(digits) if digits.isdigit() else None
