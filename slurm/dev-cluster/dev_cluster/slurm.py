"""Queries to the cluster's Slurm: whether its daemons respond, and the state of its nodes."""

from __future__ import annotations

import calendar
import dataclasses
import re
import subprocess
import time

from dev_cluster.cluster import Cluster
from dev_cluster.daemons import pid_of, record
from dev_cluster.errors import Fault, command
from dev_cluster.processes import SYSTEM_PATH, run


@dataclasses.dataclass
class Node:
    """A node as slurmctld sees it.

    Attributes:
        state: Slurm's, in lower case, e.g. idle, mixed, down*, idle+drain.
        reason: why it is down or drained.
        slurmd_started: start of its slurmd in seconds since the epoch.
    """

    state: str = "unknown"
    reason: str = ""
    slurmd_started: float = 0

    @property
    def usable(self) -> bool:
        """Whether it takes jobs."""
        return not re.search(r"unknown|down|drain|fail|inval|not_responding|\*", self.state)

    @property
    def resumable(self) -> bool:
        """Whether it is down or drained although its slurmd responds."""
        return bool(re.search(r"down|drain", self.state)) and not re.search(r"not_responding|\*", self.state)

    def __str__(self) -> str:
        return f"{self.state} ({self.reason})" if self.reason else self.state


def run_client(cluster: Cluster, *argv: str, timeout_s: float = 15) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands, or another client, on this cluster.

    Raises:
        Fault: Slurm rejects the configuration.
    """
    done = run(list(argv), cluster.environment, timeout_s)
    if "Unable to process configuration file" in done.stderr:
        problem = done.stderr.partition("error: ")[2].partition("\n")[0]
        raise Fault(
            f"Slurm rejects {cluster.slurm_conf}: {problem}; remove the setting with `{command()} up --set KEY=`"
        )
    return done


def controller_responds(cluster: Cluster) -> bool:
    """Whether slurmctld responds; without munged, Slurm's commands would retry for long."""
    alive = pid_of(cluster, "munged") and pid_of(cluster, "slurmctld")
    return bool(alive) and "is UP" in run_client(cluster, "scontrol", "ping").stdout


def accounting_knows_cluster(cluster: Cluster, *, with_port: bool) -> bool:
    """Whether slurmdbd knows the cluster and, if ``with_port``, the running slurmctld's port."""
    response = run_client(cluster, "sacctmgr", "-nP", "list", "cluster", "format=cluster,controlport")
    port = cluster.settings.base_port if with_port else r"\d+"
    return re.search(rf"^dev\|{port}$", response.stdout, re.MULTILINE) is not None


def node_states(cluster: Cluster) -> dict[str, Node]:
    """Return the nodes by name, as slurmctld knows them; empty if it does not respond."""
    nodes = {}
    response = run(["scontrol", "-o", "show", "node"], {**cluster.environment, "TZ": "UTC0"})
    for line in response.stdout.splitlines():
        facts = dict(re.findall(r"(NodeName|State|SlurmdStartTime|Reason)=(.+?)(?= \w+=|$)", line))
        if {"NodeName", "State"} <= facts.keys():
            started = facts.get("SlurmdStartTime", "")
            is_time = started[:1].isdigit()  # else None or Unknown
            seconds = calendar.timegm(time.strptime(started, "%Y-%m-%dT%H:%M:%S")) if is_time else 0
            nodes[facts["NodeName"]] = Node(facts["State"].lower(), facts.get("Reason", ""), seconds)
    return nodes


def has_registered(cluster: Cluster, name: str, node: Node) -> bool:
    """Whether the running slurmd of a node has registered; until then its state is outdated."""
    entry = record(cluster, f"slurmd-{name}")
    return entry is not None and node.slurmd_started >= entry["time"]


def version() -> tuple[int, int]:
    """Return the version of Slurm, such as (22, 5); (0, 0) if it is unknown."""
    response = run(["slurmd", "-V"], {"PATH": SYSTEM_PATH}).stdout
    match = re.search(r"(\d+)\.(\d+)", response)
    return (int(match[1]), int(match[2])) if match else (0, 0)
