"""The cluster's line in /etc/hosts, which gives its nodes their address."""

from __future__ import annotations

import pathlib
import socket

from dev_cluster.cluster import Cluster
from dev_cluster.errors import Fault, command, say
from dev_cluster.files import locked, write_atomically

HOSTS_FILE = pathlib.Path("/etc/hosts")


def add_line(cluster: Cluster) -> None:
    """Write the cluster's line; every other byte of the file stays.

    Raises:
        Fault: another machine has the name of a node.
    """
    with locked(HOSTS_FILE.parent, 30):
        ours, others = _split(cluster)
        names = cluster.nodes
        for line in others.splitlines():
            address, *known_names = line.partition("#")[0].split() or [""]
            clash = set(names) & set(known_names)
            if clash and not address.startswith(("127.", "::1")):
                raise Fault(
                    f"{HOSTS_FILE} gives the name {min(clash)} to {address}: choose other node names, "
                    f"e.g. `{command()} up --prefix dev`"
                )
        host = socket.gethostname()
        if any(host in line.split() for line in ours) or not _has_address(host):
            names = [*names, host]  # srun calls this machine back by its name
        if others and not others.endswith("\n"):
            others += "\n"
        _replace(f"{others}127.0.0.1 {' '.join(names)} {_mark(cluster)}\n", "added")


def remove_line(cluster: Cluster) -> None:
    """Delete the cluster's line; every other byte of the file stays."""
    with locked(HOSTS_FILE.parent, 30):
        _, others = _split(cluster)
        _replace(others, "removed")


def _mark(cluster: Cluster) -> str:
    return f"# hpc_dl dev-cluster {cluster.folder}"


def _split(cluster: Cluster) -> tuple[list[str], str]:
    """The cluster's own lines, and the text of all others."""
    text = HOSTS_FILE.read_text() if HOSTS_FILE.exists() else ""
    mark = _mark(cluster)
    ours = [line for line in text.splitlines() if line.endswith(mark)]
    return ours, "".join(line for line in text.splitlines(True) if not line.rstrip("\n").endswith(mark))


def _replace(text: str, change: str) -> None:
    if text == (HOSTS_FILE.read_text() if HOSTS_FILE.exists() else ""):
        return
    mode = HOSTS_FILE.stat().st_mode & 0o777 if HOSTS_FILE.exists() else 0o644
    write_atomically(HOSTS_FILE, text, mode)
    say(f"{HOSTS_FILE}: {change} the line of this cluster's nodes")


def _has_address(host: str) -> bool:
    """Whether the name resolves to an IPv4 address."""
    try:
        socket.getaddrinfo(host, None, socket.AF_INET)
    except OSError:
        return False
    return True
