"""The job reached its time limit, with or without a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.config.resources import parse_minutes
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule


class TimeLimit(Rule):
    """Slurm's state or message, or the run's own reason."""

    order = Order.ENDING
    patterns = (
        r"^State=(?:TIMEOUT|DEADLINE)\b",
        r"CANCELLED AT \S+ DUE TO (?:TIME LIMIT|DEADLINE)",
        r"^warned of its time limit(?!.*(?:already requeued|completed no step))",
        r"^it exceeded its time limit",
    )
    sources = ("slurm", "output", "reason")

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Leave out a run that failed by itself."""
        own = evidence.state
        return iter(()) if own["state"] == "failed" and own.get("rank") is not None else super().find(evidence)

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Tell whether the run continues, or needs a longer limit."""
        limit = evidence.slurm.limit or evidence.settings.get("resources.time", "")
        limit_text = f" of {limit}" if limit else ""
        step = evidence.checkpoint_step
        if step is not None:
            cause = f"the job reached its time limit{limit_text}; its last checkpoint is of step {step}"
            remedy = "resume it; a longer resources.time needs fewer attempts"
            return Advice(cause, remedy, ("resources.time",))
        cause = f"the job reached its time limit{limit_text} before it could write a checkpoint"
        try:
            longer: tuple[str, ...] = (f"resources.time={2 * parse_minutes(str(limit))}",)
        except ValueError:
            longer = ()
        return Advice(
            cause, f"request more time: {longer[0] if longer else 'resources.time'}", ("resources.time",), longer
        )
