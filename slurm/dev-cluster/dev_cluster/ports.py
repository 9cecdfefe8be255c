"""Free TCP ports for Slurm's daemons."""

from __future__ import annotations

import random
import socket

from dev_cluster.errors import Fault

#: Above the usual ephemeral ports (32768-60999), from which launchers take rendezvous ports.
PORT_RANGE = (61100, 65400)


def is_free(port: int) -> bool:
    """Whether a TCP port can be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports.

    It is chosen at random, so that two clusters that start at once rarely choose the same.

    Raises:
        Fault: there are none.
    """
    for _ in range(200):
        first = random.randrange(PORT_RANGE[0], PORT_RANGE[1] - count)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise Fault(f"no {count} consecutive free ports between {PORT_RANGE[0]} and {PORT_RANGE[1]}: free some")
