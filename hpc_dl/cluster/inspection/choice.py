"""Which partition, account and QoS go together, and which of them a profile should name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpc_dl.cluster.inspection.facts import Association, Partition
from hpc_dl.cluster.inspection.queries import ClusterFacts
from hpc_dl.config.resources import parse_minutes

#: Asks the user: what is to be chosen, the values with a description each, and the best guess.
Ask = Callable[[str, Mapping[str, str], str], str]


@dataclass(frozen=True)
class Combination:
    """A partition, an account that may use it, and the QoS that both allow.

    Attributes:
        partition: the partition.
        account: the account; "" if the accounts are unknown or none is needed.
        qos: names; empty if they are unknown.
        default_qos: what Slurm takes for a job that names none; "" if it is unknown or not allowed.
    """

    partition: Partition
    account: str
    qos: tuple[str, ...]
    default_qos: str


@dataclass(frozen=True)
class LargestJob:
    """The largest job on a partition; ``None`` is unlimited or unknown.

    Attributes:
        nodes: number of nodes.
        gpus_per_node: GPUs on each.
        cpus_per_node: CPU cores on each.
        memory_mib: main memory on each.
        minutes: its time limit.
    """

    nodes: int | None = None
    gpus_per_node: int | None = None
    cpus_per_node: int | None = None
    memory_mib: int | None = None
    minutes: int | None = None

    def texts(self) -> dict[str, Any]:
        """Return the keys of a profile's ``limits``, without the unknown ones."""
        limits = {
            "nodes": self.nodes,
            "gpus_per_node": self.gpus_per_node,
            "cpus_per_node": self.cpus_per_node,
            "memory": f"{self.memory_mib}M" if self.memory_mib else None,
            "time": _slurm_time(self.minutes) if self.minutes else None,
        }
        return {key: value for key, value in limits.items() if value is not None}


def largest_job(partition: Partition, qos_limits: Mapping[str, str], qos: str) -> LargestJob:
    """Return the largest job on a partition.

    Args:
        partition: the partition.
        qos_limits: the time limit of each QoS, or "".
        qos: the QoS of the job; "" if unknown.
    """
    kinds = partition.nodes
    times = [partition.time_limit, qos_limits.get(partition.own_qos, ""), qos_limits.get(qos, "")]

    def least(limit: int | None, available: int) -> int | None:
        return min(filter(None, (limit, available)), default=None)

    return LargestJob(
        nodes=least(partition.max_nodes, sum(kind.count for kind in kinds)),
        gpus_per_node=max((kind.num_gpus for kind in kinds), default=None),
        cpus_per_node=least(partition.max_cpus, max((kind.cpus for kind in kinds), default=0)),
        memory_mib=least(partition.max_memory_mib, max((kind.memory_mib for kind in kinds), default=0)),
        minutes=min(map(parse_minutes, filter(_is_time, times)), default=None),
    )


@dataclass(frozen=True)
class Choice:
    """What a profile names; ``None`` leaves it to Slurm.

    Attributes:
        partition: the partition; ``None`` if Slurm listed none.
        account: the account.
        qos: the QoS.
        largest: the largest job that is possible with these.
    """

    partition: Partition | None = None
    account: str | None = None
    qos: str | None = None
    largest: LargestJob = LargestJob()


def combinations(facts: ClusterFacts) -> list[Combination]:
    """Return what the user may combine; each partition once for every account."""
    return [
        combination
        for partition in facts.partitions or []
        for combination in _of_partition(partition, facts.associations)
        if partition.up
    ]


def _of_partition(partition: Partition, associations: list[Association] | None) -> Iterator[Combination]:
    if not associations:
        yield Combination(partition, "", (), "")
        return
    for association in associations:
        if association.partition in ("", partition.name) and partition.accounts.permits(association.account):
            qos = tuple(name for name in association.qos if partition.qos.permits(name))
            if qos or not association.qos:
                default = association.default_qos or "normal"
                yield Combination(partition, association.account, qos, default if default in qos else "")


def choose(facts: ClusterFacts, ask: Ask) -> Choice:
    """Choose what jobs with GPUs use; ask only where several are equally likely.

    The cluster's default partition is taken if it has GPUs, the user's default account if it may
    use the partition, and Slurm's default QoS if both allow it.

    Args:
        facts: those of the cluster.
        ask: called at most once for each of partition, account and QoS.
    """
    possible = combinations(facts)
    partitions = list({each.partition.name: each.partition for each in possible}.values())
    if not partitions:
        return Choice()
    with_gpus = [partition for partition in partitions if partition.total_gpus] or partitions
    with_gpus.sort(key=lambda partition: (not partition.default, -partition.total_gpus, -_minutes(partition)))
    name = with_gpus[0].name
    if len(with_gpus) > 1 and not with_gpus[0].default:
        name = ask("partition", {each.name: described(each) for each in with_gpus}, name)
    here = [each for each in possible if each.partition.name == name]
    accounts = list(dict.fromkeys(each.account for each in here))
    account = facts.default_account if facts.default_account in accounts else accounts[0]
    if len(accounts) > 1 and account != facts.default_account:
        account = ask("account", dict.fromkeys(accounts, ""), account)
    combination = next(each for each in here if each.account == account)
    limits = facts.qos or {}
    qos = combination.default_qos
    if combination.qos and not qos:
        qos = combination.qos[0]
        if len(combination.qos) > 1:
            qos = ask("qos", {each: limits.get(each, "") for each in combination.qos}, qos)
    return Choice(
        combination.partition,
        account or None,
        None if qos == combination.default_qos else qos,
        largest_job(combination.partition, limits, qos),
    )


def described(partition: Partition) -> str:
    """Describe a partition: ``2 nodes of 64 cores, 500 GiB, 4 a100; at most 1-00:00:00``."""
    kinds = [
        f"{kind.count} node{'s' if kind.count > 1 else ''} of {kind.cpus} cores, {kind.memory_mib / 1024:.0f} GiB"
        + "".join(f", {count} {model or ('GPU' if count == 1 else 'GPUs')}" for model, count in kind.gpus.items())
        for kind in partition.nodes
    ]
    limit = [f"at most {partition.time_limit}"] if partition.time_limit else []
    return "; ".join([*kinds, *limit])


def _minutes(partition: Partition) -> float:
    return parse_minutes(partition.time_limit) if _is_time(partition.time_limit) else float("inf")


def _slurm_time(minutes: int) -> str:
    days, minutes = divmod(minutes, 24 * 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:00"
    return f"{days}-{clock}" if days else clock


def _is_time(text: str) -> bool:
    try:
        return parse_minutes(text) > 0
    except ValueError:
        return False
