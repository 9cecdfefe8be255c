"""A TCP port at which ranks on one machine find each other."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from hpc_dl.errors import ClusterError, Fault

#: Where Linux keeps the first and the last port that it gives to outgoing connections.
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_EPHEMERAL = (32768, 60999)
#: Above the ports that Lightning derives from Slurm's job ids (15000 to 24999).
_PORTS = range(25000, 61000)
_TRIES = 200


def free_port() -> int:
    """Return a port of the loopback address that no process uses.

    It is never one that the system gives to outgoing connections. One of those may be taken before
    rank 0 listens at it, even by a rank that tries to reach rank 0: its connection then meets
    itself, and all ranks wait until they give up.

    Raises:
        ClusterError: no port is free.
    """
    first, last = _ephemeral_ports()
    ports = [port for port in _PORTS if not first <= port <= last] or list(_PORTS)
    # Not the generator that trainings seed: two of the same seed would choose the same port.
    for port in random.SystemRandom().sample(ports, min(_TRIES, len(ports))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    problem = f"no free TCP port between {ports[0]} and {ports[-1]}: {_TRIES} were tried"
    raise ClusterError(Fault("127.0.0.1", problem, remedy="end processes of yours that listen there"))


def _ephemeral_ports() -> tuple[int, int]:
    """The first and the last of the ports for outgoing connections."""
    try:
        first, last = EPHEMERAL_PORTS.read_text(encoding="ascii").split()
        return int(first), int(last)
    except (OSError, ValueError):  # not Linux, or not readable in a container
        return _USUAL_EPHEMERAL
