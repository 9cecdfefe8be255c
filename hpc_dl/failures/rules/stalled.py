"""A rank made no progress, and hpc_dl's watchdog ended the training."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule


class Stalled(Rule):
    """The watchdog's verdict, which names the rank that held up the others."""

    order = Order.WAITED
    patterns = (
        r"^training: (?P<problem>.*(?:progress for|wrote no heartbeat|did not start to train).*?)(?:\. Look for|$)",
    )
    sources = ("reason", "log")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Repeat the verdict."""
        log = f"logs/rank-{finding.line.rank}.log" if finding.line.rank is not None else "the rank's log"
        return Advice(
            f"the training stood still: {finding.groups['problem']}",
            f"look for the cause in {log}, which has the stack of the rank; a longer trainer.stall_timeout allows "
            "slow steps, and a node that hangs again is left out with `sbatch: {exclude: NODE}` in the site profile",
            ("trainer.stall_timeout", "sbatch"),
        )
