"""The clocks of the nodes against each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_MOST_S = 2.0
_MEETINGS = 5


class ClockDifference(JobCheck):
    """The time at which the ranks leave the same barrier, several times."""

    why = "Times in logs and of files mislead, and a watchdog may take a rank for stalled"
    remedy = "see what `all reduce` says"

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the times, in seconds since the epoch."""
        if rank.experiment.resources.nodes == 1:
            return {}
        rank.meet()
        from torch import distributed

        times = []
        for _ in range(_MEETINGS):
            distributed.barrier()
            times.append(time.time())
        return {"times": times}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one if clocks differ by more than two seconds."""
        meetings = zip(*([(time, each.node) for time in each.values["times"]] for each in measured), strict=False)
        # A busy node leaves a barrier late: the meeting with the smallest difference counts.
        first, last = min(
            ((min(times), max(times)) for times in meetings),
            key=lambda ends: ends[1][0] - ends[0][0],
            default=((0.0, ""), (0.0, "")),
        )
        if (seconds := last[0] - first[0]) > _MOST_S:
            what = f"the clock of {last[1]} is {seconds:.1f} s ahead of that of {first[1]}"
            yield Finding(what, self.why, "report it to your site", fatal=False)
