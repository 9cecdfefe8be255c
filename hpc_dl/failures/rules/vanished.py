"""The process of a rank ended with status 0 before the training had ended."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Finding, Order, Rule


class Vanished(Rule):
    """Slurm reports success, but the run's own state does not."""

    order = Order.ENDING
    patterns = (r"^State=COMPLETED ExitCode=0:0\b",)
    sources = ("slurm",)
    cause = "a rank ended with exit status 0 before the training had ended, and left no reason"
    remedy = "look for os._exit, or a library that calls it, in your code; then resume with the corrected code"

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Only where the training had begun and says nothing about its end."""
        if evidence.state["state"] == "running":
            yield from super().find(evidence)
