"""The clock of this machine against that of Slurm's controller."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from hpc_dl.cluster import slurm
from hpc_dl.cluster.doctor.check import Check, Finding, Situation

_MOST_S = 60.0


class Clock(Check):
    """The difference, at the moment of a query."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one if it is larger than a minute."""
        if situation.facts is None:
            return
        text = (slurm.answer("scontrol", "show", "config") or "").partition("\n")[0].rpartition(" as of ")[2]
        difference = difference_s(text, datetime.datetime.now())
        if difference is not None and abs(difference) > _MOST_S:
            what = f"the clock of this machine differs by {difference:+.0f} s from that of Slurm's controller"
            why = "Slurm's authentication fails beyond some minutes, and times of runs mislead"
            yield Finding(what, why, "report it to your site", fatal=False)


def difference_s(text: str, now: datetime.datetime) -> float | None:
    """Return how far ``now`` is ahead of a time as Slurm writes it; ``None`` if it is none."""
    try:
        return (now - datetime.datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError):
        return None
