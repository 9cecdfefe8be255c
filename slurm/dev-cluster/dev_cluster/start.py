"""`cluster up`: configure a cluster, start its daemons, and wait until its nodes take jobs."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import secrets
import shutil
import time

from dev_cluster import daemons, hosts, policies
from dev_cluster.cluster import Cluster, prepare_state_folder
from dev_cluster.configuration import create_folders, slurm_conf, write_configuration
from dev_cluster.daemons import pid_of, wait_for
from dev_cluster.errors import Fault, command, say
from dev_cluster.files import last_lines, locked
from dev_cluster.packages import ensure_packages
from dev_cluster.ports import free_ports, is_free
from dev_cluster.processes import run
from dev_cluster.slurm import accounting_knows_cluster, controller_responds, has_registered, node_states, run_client


def up(cluster: Cluster, options: argparse.Namespace) -> int:
    """Start the cluster, or repair it."""
    start = time.monotonic()
    prepare_state_folder(cluster.folder)
    with locked(cluster.lock_file, 180):
        cluster = Cluster(cluster.folder)  # the settings as the previous holder of the lock left them
        ensure_packages(cluster.folder / "apt.log")
        configure(cluster, options)
        hosts.add_line(cluster)
        num_started = start_all(cluster)
    seconds = time.monotonic() - start
    change = f"{num_started} daemons started" if num_started else "all was up already"
    say(f"up in {seconds:.1f} s ({change}); nodes {', '.join(cluster.nodes)}; to use it:")
    print(f'    eval "$({command()} env)"')
    return 0


def configure(cluster: Cluster, options: argparse.Namespace) -> None:
    """Merge the options into the recorded settings, and write all configuration files.

    Raises:
        Fault: the cluster runs with other settings, or Slurm rejects the new ones.
    """
    settings = cluster.settings
    before = dataclasses.asdict(settings)
    for name in ("nodes", "gpus", "cpus", "prefix", "requeue_delay", "grace_time"):
        if getattr(options, name) is not None:
            setattr(settings, name, getattr(options, name))
    settings.set = dict(settings.set)
    for key, value in options.set:
        settings.set.pop(next((known for known in settings.set if known.lower() == key.lower()), key), None)
        if value:
            settings.set[key] = value
    requested = dataclasses.asdict(settings)
    is_running = any(pid_of(cluster, path.stem) for path in (cluster.folder / "run").glob("*.json"))
    if is_running and requested != before:
        changed = ", ".join(key for key, value in requested.items() if value != before[key])
        raise Fault(f"the running cluster has other settings ({changed}): `{command()} down` first, then repeat")
    create_folders(cluster)
    if is_running and cluster.slurm_conf.exists():
        if cluster.slurm_conf.read_text() != slurm_conf(cluster):
            say(
                f"another version of this command wrote {cluster.slurm_conf}: `{command()} down`, then `up` "
                "writes it again"
            )
        return
    ports = range(settings.base_port, settings.base_port + settings.nodes + 2)
    if not is_running and not (settings.base_port and all(is_free(port) for port in ports)):
        settings.base_port = free_ports(len(ports))
    settings.token = settings.token or secrets.token_hex(8)
    write_configuration(cluster)
    # Needs no daemon, and reports what Slurm rejects in slurm.conf.
    run_client(cluster, "scontrol", "show", "hostnames", "n1")


def start_all(cluster: Cluster) -> int:
    """Start the missing daemons, each when its predecessor responds; return their number."""
    munged, database, accounting, controller, *slurmds = daemons.all_daemons(cluster)
    num_started = int(daemons.start(cluster, munged))
    database_folder = cluster.folder / "db"
    if not database_folder.exists():
        create_database(cluster, database_folder)
    num_started += daemons.start(cluster, database)

    def succeeds(*argv: str) -> bool:
        return run_client(cluster, *argv).returncode == 0

    credential = ["munge", "-n", "-S", str(cluster.munge_socket)]
    wait_for(cluster, "munged answers", lambda: succeeds(*credential), ["munged"])
    ping = ["mariadb-admin", "--no-defaults", "--user=root", f"--socket={cluster.database_socket}", "ping"]
    wait_for(cluster, "MariaDB answers", lambda: succeeds(*ping), ["mariadbd"], 60)
    num_started += daemons.start(cluster, accounting)
    clusters = ["sacctmgr", "-nP", "list", "cluster"]
    wait_for(cluster, "slurmdbd answers", lambda: succeeds(*clusters), ["mariadbd", "slurmdbd"], 60)
    if not accounting_knows_cluster(cluster, with_port=False):
        run_client(cluster, "sacctmgr", "-i", "add", "cluster", "dev")
    num_started += daemons.start(cluster, controller)
    wait_for(cluster, "slurmctld responds", lambda: controller_responds(cluster), ["slurmctld"], 60)
    for slurmd in slurmds:
        num_started += daemons.start(cluster, slurmd)
    wait_for_nodes(cluster, cluster.nodes)
    wait_for(
        cluster,
        "slurmctld registers with slurmdbd",
        lambda: accounting_knows_cluster(cluster, with_port=True),
        ["slurmdbd", "slurmctld"],
    )
    policies.create(cluster)  # not before: slurmctld makes gres/gpu known to slurmdbd
    return num_started


def create_database(cluster: Cluster, target: pathlib.Path) -> None:
    """Create MariaDB's own tables next to the target, and move them when they are complete."""
    new = target.with_name("db.new")
    shutil.rmtree(new, ignore_errors=True)
    argv = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={new}", "--skip-test-db"]
    argv += ["--auth-root-authentication-method=socket", "--skip-name-resolve", f"--tmpdir={cluster.folder}/tmp"]
    done = run(argv, cluster.environment, 120)
    if done.returncode:
        log = cluster.log("mariadb-install-db")
        log.write_text(done.stdout + done.stderr)
        raise Fault(f"mariadb-install-db could not create {new} (is the disk full?):\n{last_lines(log)}", 1)
    new.chmod(0o700)
    new.rename(target)
    say("created an empty accounting database")


def wait_for_nodes(cluster: Cluster, nodes: list[str]) -> None:
    """Wait until nodes take jobs; resume those that are drained or down once their slurmd runs."""
    last_resume: dict[str, float] = {}

    def ready() -> bool:
        states = node_states(cluster)
        if not all(name in states and has_registered(cluster, name, states[name]) for name in nodes):
            return False
        for name in nodes:
            # Repeated, because a rebooted node may register twice and be set down again.
            if states[name].resumable and time.monotonic() - last_resume.get(name, -9) > 2:
                say(f"node {name} is {states[name]}: resuming it")
                run_client(cluster, "scontrol", "update", f"nodename={name}", "state=resume")
                last_resume[name] = time.monotonic()
        return all(states[name].usable for name in nodes)

    names = ["slurmctld", *(f"slurmd-{name}" for name in nodes)]
    wait_for(cluster, f"nodes {', '.join(nodes)} ready", ready, names, 60)
    for name in nodes:
        cluster.power_loss(name).unlink(missing_ok=True)
