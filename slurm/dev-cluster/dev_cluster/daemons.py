"""The daemons of a cluster: start and stop them, and end what they started."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

from dev_cluster.cluster import Cluster
from dev_cluster.errors import Fault, command, say
from dev_cluster.files import last_lines, write_atomically
from dev_cluster.processes import (
    boot_id,
    environment,
    has_our_root,
    parent,
    program,
    send_signal,
    start_time,
    wait_until,
)

# In the environment of each daemon and thus of its children: a slurmd's slurmstepds outlive it.
MARKER = "HPC_DL_DEV_CLUSTER_DAEMON"


@dataclasses.dataclass
class Daemon:
    """A process that runs as long as the cluster is up.

    Attributes:
        name: of the daemon, e.g. slurmd-n1.
        argv: its command line.
        environment: variables in addition to those of the cluster.
        not_before: earliest time of its start, in seconds since the epoch.
    """

    name: str
    argv: list[str]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    not_before: float = 0


def all_daemons(cluster: Cluster) -> list[Daemon]:
    """Return every daemon, in the order of starting."""
    folder = cluster.folder
    munged = ["munged", "--foreground", "--force", f"--socket={cluster.munge_socket}"]
    munged += [f"--{kind}-file={folder}/munge/{kind}" for kind in ("key", "pid", "seed")]
    database = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={folder}/db"]
    database += [f"--socket={cluster.database_socket}", f"--pid-file={folder}/run/mariadbd.pid"]
    database += ["--skip-networking", "--skip-name-resolve"]
    # At its start MariaDB deletes all temporary tables in its tmpdir, also those of other servers.
    database += [f"--tmpdir={folder}/tmp"]
    # Small, with the limits that slurmdbd recommends; a crash of the machine may lose one second.
    database += ["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--max-allowed-packet=16M"]
    database += ["--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=2", "--innodb-fast-shutdown=2"]
    database += ["--max-connections=40", "--performance-schema=OFF", "--key-buffer-size=1M"]
    return [
        Daemon("munged", munged),
        Daemon("mariadbd", database),
        # slurmdbd has no setting for the socket, but its database library reads this variable.
        Daemon("slurmdbd", ["slurmdbd", "-D"], {"MYSQL_UNIX_PORT": str(cluster.database_socket)}),
        Daemon("slurmctld", ["slurmctld", "-D"]),
        *(slurmd(cluster, node) for node in cluster.nodes),
    ]


def slurmd(cluster: Cluster, node: str) -> Daemon:
    """Return the slurmd of a node."""
    argv = ["slurmd", "-D", "-N", node]
    try:
        power_lost = cluster.power_loss(node).stat().st_mtime
    except FileNotFoundError:
        return Daemon(f"slurmd-{node}", argv)
    # -b reports a reboot; without it slurmctld keeps the jobs that died in `node NAME down` for
    # minutes. It compares the boot, in whole seconds, with the node's last message.
    return Daemon(f"slurmd-{node}", [*argv, "-b"], not_before=int(power_lost) + 1)


def record(cluster: Cluster, name: str) -> dict[str, Any] | None:
    """Return what `start` recorded of a daemon; None if that very process no longer runs."""
    try:
        entry: dict[str, Any] = json.loads((cluster.folder / "run" / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    started = start_time(entry["pid"])
    if started is None or (entry["boot"], entry["start"]) != (boot_id(), started):
        return None
    # Not by the command line: Slurm's daemons overwrite it for a moment.
    return entry if program(entry["pid"]) in (entry["program"], None) else None


def pid_of(cluster: Cluster, name: str) -> int | None:
    """The process id of a daemon that this command started and that still runs."""
    entry = record(cluster, name)
    return entry["pid"] if entry else None


def start(cluster: Cluster, daemon: Daemon) -> bool:
    """Start a daemon in a separate session, unless it runs; return whether it was started."""
    if pid_of(cluster, daemon.name):
        return False
    wait_until(lambda: time.time() >= daemon.not_before, 2)
    started = int(time.time())
    marker = {MARKER: f"{cluster.settings.token}:{daemon.name}"}
    with cluster.output(daemon.name).open("wb") as output:
        child = subprocess.Popen(
            daemon.argv,
            env={**cluster.environment, **daemon.environment, **marker},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    entry = {
        "pid": child.pid,
        "start": start_time(child.pid),
        "boot": boot_id(),
        "program": program(child.pid),
        "time": started,
    }
    write_atomically(cluster.folder / "run" / f"{daemon.name}.json", json.dumps(entry))
    say(f"{daemon.name} started (pid {child.pid})")
    return True


def wait_for(
    cluster: Cluster, goal: str, condition: Callable[[], object], names: Iterable[str], timeout_s: float = 30
) -> None:
    """Wait until a condition holds.

    Args:
        cluster: the cluster.
        goal: what is waited for, for the message.
        condition: is polled.
        names: daemons that must stay alive; the last one is blamed for a timeout.
        timeout_s: how long, in seconds.

    Raises:
        Fault: a daemon has ended, or the time is over; with the end of the daemon's log.
    """
    names = list(names)
    ended: list[str] = []

    def settled() -> bool:
        # The daemons first: after the death of one, another process may answer at its port.
        ended[:] = [name for name in names if not pid_of(cluster, name)]
        return bool(ended) or bool(condition())

    reached = wait_until(settled, timeout_s)
    if reached and not ended:
        return
    blamed = ended[0] if ended else names[-1]
    problem = f"{blamed} has ended" if ended else f"{goal}: not reached within {timeout_s:g} s"
    log = cluster.output(blamed)
    raise Fault(
        f"{problem}; the end of {log}:\n{last_lines(log)}\n"
        f"    Fix the cause and repeat `up`; if that does not help: `{command()} down --purge`, then `up`.",
        1,
    )


def stop(cluster: Cluster, name: str, timeout_s: float = 20) -> bool:
    """Send SIGTERM, after `timeout_s` SIGKILL; return whether the daemon ran."""
    pid = pid_of(cluster, name)
    record_file = cluster.folder / "run" / f"{name}.json"
    if pid is None:
        record_file.unlink(missing_ok=True)
        return False
    send_signal(pid, signal.SIGTERM)
    if not wait_until(lambda: pid_of(cluster, name) is None, timeout_s):
        say(f"{name} did not end within {timeout_s:g} s of SIGTERM: killed")
        send_signal(pid, signal.SIGKILL)
        wait_until(lambda: pid_of(cluster, name) is None, 5)
    record_file.unlink(missing_ok=True)
    say(f"{name} stopped")
    return True


def started_processes(cluster: Cluster, name: str) -> list[int]:
    """Return the live processes that a daemon started: children, descendants, and a slurmd's jobs.

    A daemon whose record was lost because `up` was killed is among them; one with a record is not.
    """
    marker = f"{MARKER}={cluster.settings.token}:{name}"
    job_variables = {f"SLURM_CONF={cluster.slurm_conf}", f"SLURMD_NODENAME={name.removeprefix('slurmd-')}"}
    found, parents = set(), {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        variables = environment(pid)
        parents[pid] = parent(pid)
        if marker in variables or (job_variables.issubset(variables) and has_our_root(pid)):
            found.add(pid)
    descendants = found
    while descendants:
        descendants = {pid for pid, its_parent in parents.items() if its_parent in found and pid not in found}
        found |= descendants
    return sorted(pid for pid in found - {pid_of(cluster, name), os.getpid()} if start_time(pid) is not None)


def kill_started_processes(cluster: Cluster, name: str) -> int:
    """Send SIGKILL to everything that a daemon started; return the number of processes."""
    killed: set[int] = set()

    def none_left() -> bool:  # polled, because a process may fork during the search
        remaining = started_processes(cluster, name)
        for pid in remaining:
            send_signal(pid, signal.SIGKILL)
        killed.update(remaining)
        return not remaining

    wait_until(none_left, 5)
    return len(killed)
