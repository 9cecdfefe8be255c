"""The run received SIGTERM, and nothing says from whom."""

from __future__ import annotations

from hpc_dl.failures.rule import Order, Rule


class Terminated(Rule):
    """The run stopped with a checkpoint, and Slurm says nothing else."""

    order = Order.ENDING
    patterns = (r"^received SIGTERM",)
    sources = ("reason",)
    cause = (
        "it was asked to end (SIGTERM) and stopped with a checkpoint: cancelled, preempted, or its node was shut down"
    )
    remedy = "resume it"
