"""The job stopped at its time limit, or was preempted, and is not requeued again."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule


class RequeueLimit(Rule):
    """What the run recorded when it stopped: it was requeued often enough, or makes no progress."""

    patterns = (
        r"already requeued (?P<count>\d+) times, the limit",
        r"not requeued, since this attempt completed no step",
        r"not requeued, since (?P<idle>\d+) attempts in a row completed no step",
    )
    sources = ("reason",)

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Propose a longer time limit, or more requeues."""
        if count := finding.groups.get("count"):
            return Advice(
                f"the run stopped at its time limit and was not requeued: it has been requeued {count} times",
                "allow more with resources.max_requeues, or request a longer resources.time, so that an attempt does "
                "more; resuming starts the count again",
                ("resources.max_requeues", "resources.time"),
            )
        if idle := finding.groups.get("idle"):
            return Advice(
                f"the job was preempted {idle} times in a row before it completed a step, so it was not requeued",
                "use a partition, QoS or time of day in which jobs run longer before they are preempted, or find out "
                "what takes so long at the start in the log of rank 0",
                ("partition", "qos"),
            )
        return Advice(
            "the run stopped at its time limit before this attempt completed a step, so it was not requeued",
            "request a longer resources.time, or find out what took so long in the log of rank 0",
            ("resources.time",),
        )
