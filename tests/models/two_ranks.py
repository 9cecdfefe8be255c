"""One of two ranks: trains every architecture for two steps and prints how its weights changed.

Each kind of inputs is trained with one task: the task changes the last layer only.
"""

import json
import sys

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a rank does

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from hpc_dl.learning.supervised import Supervised  # noqa: E402
from tests.models.samples import batch_of, combinations  # noqa: E402


class Step(torch.nn.Module):
    """The training step as ``forward``, which DDP wraps."""

    def __init__(self, model: Supervised) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: object) -> torch.Tensor:
        """The loss of a batch."""
        return self.model.training_step(batch, 0)


def main(rank: int, port: int) -> None:
    """Print, for each combination, the sum of all weights before and after."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    sums = {}
    supervised = {(c.name, c.kind): c for c in combinations() if c.is_supervised}  # the last task of each kind
    for combination in supervised.values():
        network = DistributedDataParallel(Step(combination.build(seed=rank)))  # DDP broadcasts rank 0's weights
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        before = _sum(network)
        for step in range(2):
            optimizer.zero_grad()
            network(batch_of(combination.data, seed=10 * step + rank)).backward()
            optimizer.step()
        sums[str(combination)] = [before, _sum(network)]
    dist.destroy_process_group()
    print(json.dumps(sums))


def _sum(network: torch.nn.Module) -> float:
    return float(sum(parameter.detach().double().abs().sum() for parameter in network.parameters()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
