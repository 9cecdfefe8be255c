"""Start and stop a genuine Slurm on one Debian or Ubuntu machine.

    cluster up                    start it, or repair it; safe to repeat
    cluster status                show the daemons, the nodes' states and the folders
    cluster env                   print "export SLURM_CONF=..." for eval
    cluster node NAME down|up     cut the power of one node, restore it
    cluster down [--purge]        stop it (and delete its state folder)

slurmctld, slurmdbd with MariaDB, munge and one slurmd for each "node", all from the
distribution's packages. Everything is in one state folder: $HPC_DL_DEV_CLUSTER, or
/var/lib/hpc_dl-dev-cluster. Only one marked line in /etc/hosts and the packages are outside it.
docs/how-to/dev-cluster.md is the manual.

Exit status: 0 done (`status`: all is up); 1 a daemon or an installation failed; 2 wrong usage, or
the machine lacks something; 3 `status`: something is not up.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable

from dev_cluster.cluster import Cluster, Settings, state_folder
from dev_cluster.commands import down, node_power, print_environment, status
from dev_cluster.configuration import RESERVED_KEYS
from dev_cluster.errors import Fault
from dev_cluster.start import up

Action = Callable[[Cluster, argparse.Namespace], int]


def number(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers for argparse."""

    def parse(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return parse


def node_prefix(text: str) -> str:
    """Parse --prefix."""
    if not re.fullmatch(r"[a-z](?:[a-z0-9-]{0,20}[a-z-])?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r}: only lower-case letters, digits and '-' are allowed, starting with a letter and not ending "
            "in a digit"
        )
    return text


def key_value(text: str) -> tuple[str, str]:
    """Parse --set."""
    match = re.fullmatch(r"([A-Za-z]+)=([^\n#]*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE as in slurm.conf, e.g. KillWait=5")
    if match[1].lower() in RESERVED_KEYS:
        raise argparse.ArgumentTypeError(f"{match[1]} is set by the cluster itself and cannot be changed")
    return match[1], match[2].strip()


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="cluster", description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, action: Action, needs_root: bool, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action, needs_root=needs_root)
        return command

    default = Settings()
    command = add("up", up, True, "start the cluster or repair it; options are remembered until changed")
    option = command.add_argument
    option("--nodes", type=number(1, 64), metavar="N", help=f"number of nodes ({default.nodes})")
    option("--gpus", type=number(0, 64), metavar="N", help=f"fake GPUs of each node ({default.gpus})")
    option("--cpus", type=number(1, 1024), metavar="N", help=f"CPUs that each node claims ({default.cpus})")
    option("--prefix", type=node_prefix, help=f"nodes are PREFIX1, PREFIX2, ... ({default.prefix!r})")
    requeue = f"least delay before a requeued job starts again ({default.requeue_delay}; Slurm's default: 120)"
    option("--requeue-delay", type=number(5, 3600), metavar="SECONDS", help=requeue)
    grace = f"GraceTime of the partition preemptible-grace ({default.grace_time})"
    option("--grace-time", type=number(0, 3600), metavar="SECONDS", help=grace)
    further = "any other line of slurm.conf, e.g. KillWait=5; KEY= removes it; may be repeated"
    option("--set", type=key_value, metavar="KEY=VALUE", action="append", default=[], help=further)
    add("status", status, False, "show what runs; exit status 0 if all is up, 3 if not")
    add("env", print_environment, False, 'print the line that makes Slurm\'s commands use it: eval "$(cluster env)"')
    command = add("node", node_power, True, "cut a node's power (SIGKILL), or restore it")
    command.add_argument("name")
    command.add_argument("power", choices=("down", "up"))
    command.add_argument("--keep-jobs", action="store_true", help="with down: kill slurmd only, its jobs keep running")
    command = add("down", down, True, "cancel the jobs and stop every daemon of this cluster")
    command.add_argument("--purge", action="store_true", help="also delete the state folder, with logs and accounting")
    return parser.parse_args()


def main() -> int:
    """Run a command; return the exit status."""
    options = parse_arguments()
    os.umask(0o022)
    try:
        if options.needs_root and os.geteuid() != 0:
            raise Fault("Slurm's daemons need root here: repeat with sudo (or in a container as root)")
        action: Action = options.action
        return action(Cluster(state_folder()), options)
    except Fault as fault:
        print(f"cluster: error: {fault}", file=sys.stderr)
        return fault.code
    except OSError as error:  # a full disk, an unreadable folder, a missing program
        print(f"cluster: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; `up` continues from here, `down` stops what runs", file=sys.stderr)
        return 130
