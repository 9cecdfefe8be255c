"""Messages between the ranks of a run, in a process group that carries no gradients."""

from __future__ import annotations

import datetime
from typing import Any

import torch
import torch.distributed as dist


class RankGroup:
    """Exchange of small messages between ranks; with a single rank nothing is sent.

    It uses CPU sockets. In the group that carries gradients, a message would wait for the GPU, or
    the GPU for it.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        """Join the group.

        All ranks must call this at the same point, after torch's process group was initialized.

        Args:
            timeout_s: seconds after which a rank that waits for another gives up; ``None`` for
                torch's 30 minutes.
        """
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1
        self._group: Any = None
        self._pending: Any = None
        self._value = torch.zeros(1, dtype=torch.int64)
        if self.size > 1:
            timeout = None if timeout_s is None else datetime.timedelta(seconds=timeout_s)
            self._group = dist.new_group(backend="gloo", timeout=timeout)

    def highest(self, value: int) -> int:
        """Return the highest value that any rank gave in the *previous* call; 0 in the first.

        No rank waits: the values are exchanged while the next batch is computed. All ranks get the
        same result if all make the same calls in the same order.
        """
        if self.size == 1:
            return value
        previous = 0
        if self._pending is not None:
            self._pending.wait()
            previous = int(self._value)
        self._value.fill_(value)
        self._pending = dist.all_reduce(self._value, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return previous

    def highest_now(self, value: int) -> int:
        """Return the highest value that any rank gives in this call."""
        if self.size == 1:
            return value
        self.finish_exchange()
        highest = torch.tensor([value])
        dist.all_reduce(highest, op=dist.ReduceOp.MAX, group=self._group)
        return int(highest)

    def gather(self, value: Any) -> list[Any] | None:
        """Return the values of all ranks on rank 0, ``None`` on the others.

        The values are pickled, which is safe among our own processes.
        """
        if self.size == 1:
            return [value]
        self.finish_exchange()
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(value, values, dst=0, group=self._group)
        return values

    def from_rank_0(self, value: Any) -> Any:
        """Return rank 0's value on all ranks."""
        if self.size == 1:
            return value
        self.finish_exchange()
        holder = [value]
        dist.broadcast_object_list(holder, src=0, group=self._group)
        return holder[0]

    def wait_for_all(self) -> None:
        """Return when all ranks have called this."""
        self.highest_now(0)

    def finish_exchange(self) -> None:
        """Wait for the values that are still being exchanged."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def destroy(self) -> None:
        """End this group and torch's own; no rank may call another afterward.

        Without this call gloo's threads may outlive the interpreter: about one in several hundred
        processes of a successful training then aborts at its exit.
        """
        if self.size > 1:
            self.finish_exchange()
            dist.destroy_process_group()
