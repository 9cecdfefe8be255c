"""This process's rank and world size, as set by Slurm or by our launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pytorch_lightning.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment


@dataclass(frozen=True)
class Ranks:
    """This process's rank and world size.

    Attributes:
        rank: number of this process over all nodes, from 0.
        local_rank: number of this process on its node, from 0.
        world_size: number of processes over all nodes.
        in_slurm_step: whether srun started it.
    """

    rank: int
    local_rank: int
    world_size: int
    in_slurm_step: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """Read torchrun's variables, as set by our launcher, or srun's; else assume one process."""
        if "WORLD_SIZE" in environment and "RANK" in environment:
            return cls(int(environment["RANK"]), int(environment["LOCAL_RANK"]), int(environment["WORLD_SIZE"]), False)
        # SLURM_STEP_ID is set in srun's tasks only, not in a batch script or an salloc shell.
        if "SLURM_STEP_ID" in environment and "SLURM_PROCID" in environment:
            return cls(
                int(environment["SLURM_PROCID"]),
                int(environment["SLURM_LOCALID"]),
                int(environment["SLURM_STEP_NUM_TASKS"]),
                True,
            )
        return cls(0, 0, 1, False)

    def lightning_environment(self) -> ClusterEnvironment:
        """The matching cluster environment of Lightning.

        Its automatic requeueing is off, since it loses checkpoints under submitit; the batch script
        requeues.
        """
        return SLURMEnvironment(auto_requeue=False) if self.in_slurm_step else LightningEnvironment()


def cpus_per_rank(ranks_on_node: int, environment: Mapping[str, str] = os.environ) -> int:
    """The number of CPU cores for one rank: what Slurm assigned, at most its share of the node."""
    reachable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assigned = int(environment.get("SLURM_CPUS_PER_TASK", reachable))
    return max(1, min(assigned, reachable // ranks_on_node))
