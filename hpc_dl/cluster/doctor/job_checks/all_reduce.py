"""Whether the ranks reach each other, and the bandwidth of an all-reduce between them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_BYTES = {"gloo": 4 << 20, "nccl": 128 << 20}
_REPETITIONS = 5
#: GB/s below which the ranks probably do not use the fast network: gloo, NCCL in a node, between.
_SLOW = {"gloo": 0.02, "nccl": 5.0, "nccl between nodes": 1.0}


class AllReduce(JobCheck):
    """Sums the same number of bytes over all ranks, and over one rank of each node."""

    why = "The ranks of a training exchange their gradients in every step"
    remedy = (
        "check that the nodes know each other's names (`getent hosts NODE` in a job); set GLOO_SOCKET_IFNAME and "
        "NCCL_SOCKET_IFNAME to the network between nodes, under `environment` in the site profile"
    )

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the backend, and GB/s between all ranks and between nodes."""
        if rank.world_size == 1:
            return {}
        rank.meet()
        from torch import distributed

        backend = distributed.get_backend()
        values: dict[str, Any] = {"backend": backend, "all": _speed(rank, backend, None, rank.world_size)}
        resources = rank.experiment.resources
        if resources.nodes > 1 and resources.ranks_per_node > 1:
            first = list(range(0, rank.world_size, resources.ranks_per_node))
            group = distributed.new_group(first)
            if rank.rank in first:
                values["between_nodes"] = _speed(rank, backend, group, len(first))
        return values

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one if it is slow."""
        nodes = experiment.resources.nodes
        backend = measured[0].values["backend"]
        least = _SLOW["nccl between nodes" if backend == "nccl" and nodes > 1 else backend]
        for kind, speed in _slowest(measured).items():
            if speed < least:
                what = f"an all-reduce {kind} reaches {speed:.2g} GB/s ({backend}), less than {least:g} GB/s"
                remedy = f"{self.remedy}; NCCL_DEBUG=INFO shows which network is used"
                yield Finding(what, self.why, remedy, fatal=False)

    def summary(self, measured: Sequence[Measured]) -> str:
        """Return the bandwidths."""
        speeds = ", ".join(f"{speed:.2g} GB/s {kind}" for kind, speed in _slowest(measured).items())
        return f"{measured[0].values['backend']}: {speeds}"


def _slowest(measured: Sequence[Measured]) -> dict[str, float]:
    kinds = {"all": f"between {len(measured)} ranks", "between_nodes": "between nodes"}
    speeds = {text: [each.values[key] for each in measured if key in each.values] for key, text in kinds.items()}
    return {text: min(values) for text, values in speeds.items() if values}


def _speed(rank: Rank, backend: str, group: Any, size: int) -> float:
    """The bandwidth of the links in GB/s, which does not depend on the number of ranks.

    Bytes per second, times 2 (n-1)/n: the "bus bandwidth" of NVIDIA's nccl-tests.
    """
    import torch
    from torch import distributed

    data = torch.ones(_BYTES[backend] // 4, device=rank.device)
    best = float("inf")
    for _ in range(_REPETITIONS):
        distributed.barrier(group)
        start = time.perf_counter()
        distributed.all_reduce(data, group=group)
        if backend == "nccl":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        data.fill_(1.0)
    return _BYTES[backend] / best * 2 * (size - 1) / size / 1e9
