"""A rank lost its connection to another one, which had ended before."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule


class ConnectionLost(Rule):
    """What gloo, NCCL and torch's store say when another rank is gone."""

    order = Order.DISCONNECTED
    patterns = (
        r"[Cc]onnection (?:was )?(?:closed|reset)(?: by (?:remote )?peer)?",
        r"gloo/transport/.*(?:Broken pipe|Socket closed|timed? ?out)",
        r"ncclRemoteError",
        r"remote process exited or there was a network error",
        r"Failed to (?:recv|send), got 0 bytes",
        r"Broken pipe",
        r"store->get\('\d+'\)|Failed to check the .should dump. flag on TCPStore",
    )

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Say that the cause is elsewhere."""
        rank = finding.line.rank
        who = "a rank" if rank is None else f"rank {rank}"
        return Advice(
            f"{who} lost its connection to another rank, which left no reason: it was killed, or its node or the "
            "network failed",
            "resume the run; if it happens again on the same node, exclude that with `sbatch: {exclude: NODE}` in the "
            "site profile",
            ("sbatch",),
        )
