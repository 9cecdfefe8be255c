"""Slurm refused to requeue the job."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule


class RequeueRefused(Rule):
    """Slurm's message, which the batch script has kept."""

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Take the first line of the file."""
        if evidence.state["state"] != "failed":
            yield from (Finding(line) for line in evidence.lines("output") if line.file == "requeue-refused")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Repeat the message."""
        return Advice(
            f"the run stopped with a checkpoint, and Slurm refused to requeue it: {finding.line.text.strip()}",
            "resume it; where the site forbids requeues (JobRequeue=0), request a longer resources.time",
            ("resources.time",),
        )
