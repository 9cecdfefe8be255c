"""The size of /dev/shm on each node, against what worker processes and NCCL need."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank
from hpc_dl.data.own_data_config import OwnLoadersConfig

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_MIB = 2**20
_NCCL_MIB = 64  # for each rank; the 64 MiB of a Docker container are too few for two
_WORKER_MIB = 64  # for each core: two prefetched batches of 32 MiB, with a worker on each core


class SharedMemory(JobCheck):
    """hpc_dl's own reader needs none; workers of a user's DataLoader pass batches through it."""

    why = "Worker processes die with a bus error, or NCCL cannot start, when it is full"
    remedy = "ask your site to enlarge /dev/shm, or use fewer workers in your loaders"
    once_per_node = True

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the size and the free space in bytes."""
        status = os.statvfs("/dev/shm")
        return {"bytes": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each node with too little free space."""
        if (needed := needed_bytes(experiment)) == 0:
            return
        for each in measured:
            if each.values["free"] < needed:
                free, size = each.values["free"] // _MIB, each.values["bytes"] // _MIB
                what = (
                    f"{each.node}: {free:,} of {size:,} MiB of /dev/shm are free, {needed // _MIB:,} MiB may be needed"
                )
                yield Finding(what, self.why, self.remedy, fatal=False)


def needed_bytes(experiment: Experiment) -> int:
    """Return what the ranks of a node may need."""
    resources = experiment.resources
    nccl = _NCCL_MIB * resources.gpus_per_node if resources.gpus_per_node > 1 else 0
    has_workers = isinstance(experiment.data, OwnLoadersConfig)
    workers = _WORKER_MIB * resources.cpus_per_gpu * resources.ranks_per_node if has_workers else 0
    return (nccl + workers) * _MIB
