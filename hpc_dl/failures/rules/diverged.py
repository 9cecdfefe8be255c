"""The loss or the weights became NaN or infinite."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule


class Diverged(Rule):
    """hpc_dl's own check, torch's, and Lightning's."""

    patterns = (
        r"(?:loss|weights) (?:is|are) no longer finite",
        r"^\S*loss\S* is (?:-?inf|nan)\b",
        r"Function '\w+' returned nan values",
        r"found invalid values:|of distribution \w+\(.*to satisfy the constraint",
        r"^ValueError: The loss returned in `training_step` is (?:nan|inf)",
        r"^(?:\w+Error: )?[Ll]oss (?:is|became|turned) (?:nan|NaN|inf)",
    )
    sources = ("reason", "log")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Propose a tenth of the learning rate, and clipping."""
        keys = ("optimizer.lr", "trainer.gradient_clip_val")
        rate = evidence.settings.get("optimizer.lr")
        text = " ".join(finding.line.message.partition(";")[0].split())
        cause = f"the training diverged: {text}"
        overrides: tuple[str, ...] = ("trainer.gradient_clip_val=1.0",)
        if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
            overrides = (f"optimizer.lr={rate / 10:.3g}", *overrides)
        remedy = (
            f"start a new run with a lower learning rate and clipped gradients: {' '.join(overrides)}; if that does "
            "not help, look for NaN in the data with `hpc-dl data verify`, and at the operation with "
            "trainer.detect_anomaly=true"
        )
        return Advice(cause, remedy, keys, overrides, resume=False)
