"""The base class of the checks that a job makes: each rank measures, the login node judges."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.formatting import shortened
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_MEETING_S = 180.0  # for all ranks to start: imports from a slow file system take a minute


@dataclass
class Rank:
    """One rank of the job while it measures.

    Attributes:
        run: the folder that all ranks and the login node share.
        experiment: the experiment, with the absolute path of its data file.
        rank: its number, from 0.
        local_rank: its number on its node, from 0.
        world_size: the number of ranks.
        node: the name of its node.
        address: host name and port at which rank 0 waits for the others.
    """

    run: RunFolder
    experiment: Experiment
    rank: int
    local_rank: int
    world_size: int
    node: str
    address: tuple[str, int]
    _failure: Exception | None = field(default=None, init=False)

    @property
    def device(self) -> str:
        """The torch device of this rank: ``cuda:N``, or ``cpu``."""
        import torch

        wants_gpu = self.experiment.resources.gpus_per_node > 0 and self.experiment.trainer.accelerator != "cpu"
        return f"cuda:{self.local_rank}" if wants_gpu and torch.cuda.device_count() > self.local_rank else "cpu"

    def meet(self) -> None:
        """Connect to the other ranks as a training does; only the first call does something.

        Raises:
            Exception: they could not be reached, now or in an earlier call.
        """
        import torch
        from torch import distributed

        if self._failure is not None:
            raise self._failure
        if distributed.is_initialized():
            return
        on_gpu = self.device != "cpu"
        if on_gpu:
            torch.cuda.set_device(self.device)
        host, port = self.address
        try:
            distributed.init_process_group(
                "nccl" if on_gpu else "gloo",
                init_method=f"tcp://{host}:{port}",
                rank=self.rank,
                world_size=self.world_size,
                timeout=datetime.timedelta(seconds=_MEETING_S),
            )
        except Exception as error:
            self._failure = error
            raise


@dataclass(frozen=True)
class Measured:
    """What one rank has measured for one check.

    Attributes:
        rank: its number.
        node: the name of its node.
        values: plain data, as :meth:`JobCheck.measure` returned it.
    """

    rank: int
    node: str
    values: dict[str, Any]


class JobCheck(ABC):
    """One check; the first line of its file's docstring says what it looks at.

    Attributes:
        why: why it matters, also if it could not be measured.
        remedy: what helps if it could not be measured.
        once_per_node: whether only the first rank of each node measures.
    """

    why: ClassVar[str]
    remedy: ClassVar[str]
    once_per_node: ClassVar[bool] = False

    @abstractmethod
    def measure(self, rank: Rank) -> dict[str, Any]:
        """Measure in one rank of the job, in a few seconds.

        Returns:
            Plain data; empty if there is nothing to measure.

        Raises:
            Exception: becomes a finding.
        """

    @abstractmethod
    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield what is wrong; nothing if all is well.

        Args:
            measured: of all ranks that measured something, at least one.
            experiment: the experiment.
        """

    def summary(self, measured: Sequence[Measured]) -> str:
        """Return the measured values in a few words, for the line that says that all is well."""
        return ""


def by_node(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """Return what the ranks of each node have measured."""
    nodes: dict[str, list[Measured]] = {}
    for each in measured:
        nodes.setdefault(each.node, []).append(each)
    return nodes


def places(measured: Sequence[Measured]) -> str:
    """Name ranks and their nodes: ``rank 1 on n2``, ``ranks 0, 1 on n1; rank 2 on n2``."""
    return "; ".join(
        f"{'ranks' if len(ranks) > 1 else 'rank'} {shortened([each.rank for each in ranks], most=4)} on {node}"
        for node, ranks in by_node(measured).items()
    )
