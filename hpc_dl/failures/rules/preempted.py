"""A job with a higher priority took the nodes."""

from __future__ import annotations

from hpc_dl.failures.rule import Order, Rule


class Preempted(Rule):
    """Slurm's state or message."""

    order = Order.ENDING
    patterns = (
        r"^State=PREEMPTED\b",
        r"CANCELLED AT \S+ DUE TO PREEMPTION",
    )
    sources = ("slurm", "output")
    cause = "a job with a higher priority took the nodes"
    remedy = (
        "resume it; a partition or `qos` that is not preempted avoids it, and a shorter checkpoint.every loses less"
    )
    keys = ("partition", "qos", "checkpoint.every")
