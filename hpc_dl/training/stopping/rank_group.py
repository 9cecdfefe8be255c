"""The ranks of a run among themselves: a process group over CPU sockets, apart from that of the
gradients.
"""

from __future__ import annotations

import datetime
from typing import Any

import torch
import torch.distributed as dist


class RankGroup:
    """Small words between the ranks; with a single rank nothing is sent.

    Not on the group that carries gradients: there a word would wait for the GPU, or make it wait.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        """Join the group; all ranks must call this at the same point, after torch's process group
        exists.

        Args:
            timeout_s: seconds after which a rank that waits for another gives up; ``None`` for
                torch's 30 minutes.
        """
        joined = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1
        self._group: Any = None
        self._pending: Any = None
        self._word = torch.zeros(1, dtype=torch.int64)
        if self.size > 1:
            timeout = None if timeout_s is None else datetime.timedelta(seconds=timeout_s)
            self._group = dist.new_group(backend="gloo", timeout=timeout)

    def highest(self, value: int) -> int:
        """The highest value that any rank gave in the call *before* this one; 0 in the first.

        Nobody waits: the words travel while the next batch is computed. All ranks get the same
        answer, as long as all make the same calls in the same order.
        """
        if self.size == 1:
            return value
        before = 0
        if self._pending is not None:
            self._pending.wait()
            before = int(self._word)
        self._word.fill_(value)
        self._pending = dist.all_reduce(self._word, op=dist.ReduceOp.MAX, group=self._group, async_op=True)
        return before

    def highest_now(self, value: int) -> int:
        """The highest value that any rank gives in this very call."""
        if self.size == 1:
            return value
        self.settle()
        word = torch.tensor([value])
        dist.all_reduce(word, op=dist.ReduceOp.MAX, group=self._group)
        return int(word)

    def gather(self, value: Any) -> list[Any] | None:
        """The values of all ranks on rank 0, ``None`` on the others; pickled, among our own
        processes.
        """
        if self.size == 1:
            return [value]
        self.settle()
        values: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(value, values, dst=0, group=self._group)
        return values

    def from_rank_0(self, value: Any) -> Any:
        """Rank 0's value on all ranks."""
        if self.size == 1:
            return value
        self.settle()
        holder = [value]
        dist.broadcast_object_list(holder, src=0, group=self._group)
        return holder[0]

    def wait_for_all(self) -> None:
        """Return when all ranks have come here."""
        self.highest_now(0)

    def settle(self) -> None:
        """Wait for words that still travel, so that none is under way at the end."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def disband(self) -> None:
        """End this group and torch's own; no rank may call another afterwards.

        Left to the interpreter's exit, gloo's threads may outlive what they run in: the process of
        a training that went well aborts, one in many hundred times.
        """
        if self.size > 1:
            self.settle()
            dist.destroy_process_group()
