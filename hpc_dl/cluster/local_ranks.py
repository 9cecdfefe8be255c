"""The ranks of one machine, as commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hpc_dl.cluster.child_processes import LAUNCHER_PID, Command
from hpc_dl.cluster.rendezvous_port import free_port


def local_rank_commands(argv: Sequence[str], world_size: int, environment: Mapping[str, str]) -> list[Command]:
    """Return a command for each rank; they meet at a free port of this machine.

    Args:
        argv: program and arguments, the same for all ranks.
        world_size: the number of ranks.
        environment: their environment variables, without those of the ranks.

    Raises:
        ClusterError: no port is free.
    """
    shared = {
        **environment,
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        LAUNCHER_PID: str(os.getpid()),
    }
    return [Command(list(argv), shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(world_size)]
