"""The commands other than `up`: status, env, node and down."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal

from dev_cluster import daemons, hosts, memory
from dev_cluster.cluster import Cluster, require_cluster
from dev_cluster.daemons import kill_started_processes, pid_of
from dev_cluster.errors import Fault, command, say
from dev_cluster.files import locked
from dev_cluster.processes import send_signal, wait_until
from dev_cluster.slurm import Node, controller_responds, node_states, run_client
from dev_cluster.start import wait_for_nodes


def status(cluster: Cluster, _: argparse.Namespace) -> int:
    """Show the daemons and the nodes; return 0 if all is up, else 3."""
    if not cluster.exists:
        say(f"no cluster in {cluster.folder}: `{command()} up` creates one")
        return 3
    all_up = True
    print(f"state folder   {cluster.folder}")
    print(f"configuration  {cluster.slurm_conf}")
    print(f"logs           {cluster.folder}/log")
    for daemon in daemons.all_daemons(cluster):
        pid = pid_of(cluster, daemon.name)
        all_up &= pid is not None
        print(f"{daemon.name:<14} {f'pid {pid}' if pid else 'not running'}")
    if controller_responds(cluster):
        states = node_states(cluster)
        for name in cluster.nodes:
            node = states.get(name, Node())
            all_up &= node.usable
            print(f"node {name:<9} {node}")
    else:
        all_up = False
        print("slurmctld does not respond: the state of the nodes is unknown")
    print("all is up" if all_up else f"not all is up: `{command()} up` repairs it")
    return 0 if all_up else 3


def print_environment(cluster: Cluster, _: argparse.Namespace) -> int:
    """Print the shell command that makes Slurm's commands use this cluster."""
    require_cluster(cluster)
    print(f"export SLURM_CONF={shlex.quote(str(cluster.slurm_conf))}")
    return 0


def node_power(cluster: Cluster, options: argparse.Namespace) -> int:
    """Cut a node's power (SIGKILL), or restore it."""
    require_cluster(cluster)
    with locked(cluster.lock_file, 180):
        node = options.name
        slurmd = f"slurmd-{node}"
        if node not in cluster.nodes:
            raise Fault(f"no node {node!r}; this cluster has {', '.join(cluster.nodes)}")
        if options.power == "up":
            started = daemons.start(cluster, daemons.slurmd(cluster, node))
            wait_for_nodes(cluster, [node])
            say(f"node {node} is {'up again' if started else 'up already'}")
            return 0
        pid = pid_of(cluster, slurmd)
        if pid:
            send_signal(pid, signal.SIGKILL)
        num_killed = 0
        if not options.keep_jobs:
            num_killed = kill_started_processes(cluster, slurmd)
            cluster.power_loss(node).touch()
        wait_until(lambda: pid_of(cluster, slurmd) is None, 5)
        say(f"node {node}: {'slurmd killed' if pid else 'slurmd did not run'}, {num_killed} job processes killed")
        return 0


def down(cluster: Cluster, options: argparse.Namespace) -> int:
    """Stop every daemon of the cluster; with `--purge` also delete its state folder."""
    if not cluster.exists:
        hosts.remove_line(cluster)
        say(f"no cluster in {cluster.folder}: nothing to stop")
        return 0
    with locked(cluster.lock_file, 180):
        cluster = Cluster(cluster.folder)
        if controller_responds(cluster):
            cancel_jobs(cluster)
        names = [daemon.name for daemon in reversed(daemons.all_daemons(cluster))]
        num_stopped = sum([daemons.stop(cluster, name) for name in names])
        num_killed = sum([kill_started_processes(cluster, name) for name in names])
        if num_killed:
            say(f"killed {num_killed} remaining processes")
        memory.remove_cgroups(cluster)
        hosts.remove_line(cluster)
        if options.purge:
            purge(cluster)
    kept = f"{cluster.folder} is kept (logs, accounting, job numbers)"
    say(f"down ({num_stopped} daemons stopped); {f'deleted {cluster.folder}' if options.purge else kept}")
    return 0


def cancel_jobs(cluster: Cluster) -> None:
    """End all jobs through Slurm, so that accounting records it; kill those that ignore SIGTERM."""

    def jobs() -> list[str]:
        return sorted(set(run_client(cluster, "squeue", "-h", "-o", "%A").stdout.split()))

    running = jobs()
    if not running:
        return
    say(f"cancelling {len(running)} {'job' if len(running) == 1 else 'jobs'}")
    run_client(cluster, "scancel", "--quiet", *running)
    if not wait_until(lambda: not jobs(), 10, every_s=0.3):
        num_killed = sum([kill_started_processes(cluster, f"slurmd-{node}") for node in cluster.nodes])
        say(f"killed {num_killed} processes of jobs that ignore SIGTERM")
        wait_until(lambda: not jobs(), 10, every_s=0.3)


def purge(cluster: Cluster) -> None:
    """Delete what this command created; a foreign file stays, and with it the state folder."""
    for name in ("munge", "run", "log", "tmp", "ctld", "spool", "gpu", "db", "db.new"):
        shutil.rmtree(cluster.folder / name, ignore_errors=True)
    for name in (
        "slurm.conf",
        "gres.conf",
        "cgroup.conf",
        "job_submit.lua",
        "slurmdbd.conf",
        "apt.log",
        "cluster.json",
        "lock",
    ):
        (cluster.folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        cluster.folder.rmdir()
