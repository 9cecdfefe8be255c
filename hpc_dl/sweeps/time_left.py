"""How long a sweep will still take; free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

from hpc_dl.cluster.overview import RunOverview
from hpc_dl.errors import HpcDlError
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder


def time_left_s(members: Sequence[RunOverview]) -> float | None:
    """Return the seconds until all members will have ended, as many at a time as run now.

    A member that waits is expected to take as long as those that have ended, on average. Members
    that fail, and times in the queue, are not foreseen.

    Args:
        members: what each of them is doing.

    Returns:
        ``None`` if none is running, or if too little is known: none has ended yet, and one that
        runs does not know its own end.
    """
    durations = [seconds for one in members if (seconds := _duration_s(one)) is not None]
    running = [one.facts.get("left_s") for one in members if one.facts["state"] == "running"]
    waiting = sum(one.facts["state"] == "pending" for one in members)
    if not running or (not durations and (waiting or None in running)):
        return None
    average = fmean(durations) if durations else 0.0
    left = [average if own is None else float(own) for own in running]
    all_s: float = (sum(left) + waiting * average) / len(left)
    return max(*left, all_s)


def _duration_s(one: RunOverview) -> float | None:
    """How long a member has trained that came to its end."""
    if one.facts["state"] == "pruned":  # it has no result
        with suppress(HpcDlError, OSError):
            return attempts.seconds(RunFolder(Path(one.facts["dir"])))
    seconds = one.result.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None
