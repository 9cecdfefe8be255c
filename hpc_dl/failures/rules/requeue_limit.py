"""The job was requeued as often as it may be."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class RequeueLimit(Rule):
    """What the run recorded when it stopped."""

    patterns = (
        r"already requeued (?P<count>\d+) times, the limit",
        r"not requeued, since .*completed no step",
    )
    sources = ("reason",)
    cause = (
        "the run stopped at its time limit and is not requeued again: the limit of requeues is "
        "reached, or an attempt made no progress"
    )
    remedy = (
        "request a longer resources.time, so that an attempt does more, or allow more with "
        "resources.max_requeues; resuming starts the count again"
    )
    keys = ("resources.max_requeues", "resources.time")
