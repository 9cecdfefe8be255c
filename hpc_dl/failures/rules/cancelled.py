"""Somebody cancelled the run, with `hpc-dl cancel` or with Slurm's scancel."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.failures.evidence import Evidence, Line
from hpc_dl.failures.rule import Advice, Finding, Order, Rule
from hpc_dl.runs.predecessors import obstacle


class Cancelled(Rule):
    """A person ended it; what the ranks say after that has no meaning."""

    order = Order.CERTAIN
    patterns = (r"^State=CANCELLED\b", r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+ \*\*\*")
    sources = ("slurm", "output")

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Prefer the record of ``hpc-dl cancel``, which names the person."""
        if evidence.cancelled_by:
            yield Finding(Line("cancelled.json", None, f"by {evidence.cancelled_by}"), {"by": evidence.cancelled_by})
        if evidence.state["state"] not in ("failed", "diverged", "finished"):
            yield from super().find(evidence)

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the person."""
        by = finding.groups.get("by", "scancel")
        if evidence.state["state"] == "created" and (reason := obstacle(evidence.run)):
            return Advice(
                f"the run was not started, because {reason}",
                f"find out why that run ended with `hpc-dl why {reason.partition(' ')[0]}`, then resume both",
            )
        who = "with Slurm's scancel, or by an administrator" if by == "scancel" else f"by {by}"
        start = "from its last checkpoint" if evidence.checkpoint_step is not None else "from the beginning"
        return Advice(f"the run was cancelled {who}", f"resume it if it is needed; it continues {start}")
