"""Ranks waited too long for another one in a collective operation."""

from __future__ import annotations

import re

from hpc_dl.config.resources import Resources
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule

_WAITED = re.compile(r"\[(?:PG .*?)?[Rr]ank (\d+)\] Watchdog caught collective operation timeout")
_MONITORED = re.compile(r"[Rr]anks? ([\d, ]+) failed to pass monitoredBarrier|Detected mismatch .* rank (\d+)")


class CollectiveTimeout(Rule):
    """NCCL's watchdog, gloo's timeout, and torch's monitored barrier."""

    order = Order.WAITED
    patterns = (
        r"Watchdog caught collective operation timeout: \w+\(.*?OpType=(?P<operation>\w+)",
        r"collective operation timeout",
        r"gloo/transport/.*Timed out waiting \d+ms for (?:recv|send) operation",
        r"Application timeout caused pair closure",
        r"failed to pass monitoredBarrier",
        r"Timeout at NCCL work",
    )
    sources = ("log", "output", "reason")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the ranks that no other rank's message names as waiting."""
        operation = finding.groups.get("operation", "")
        missing = missing_ranks(evidence)
        where = f" ({operation})" if operation else ""
        cause = f"ranks waited too long for others in a collective operation{where}"
        if missing:
            names = ", ".join(map(str, missing))
            cause += f"; rank {names} never came to it" if len(missing) == 1 else f"; ranks {names} never came to it"
        log = f"logs/rank-{missing[0]}.log" if missing else "the logs of the ranks"
        return Advice(
            cause,
            f"look in {log} for what the rank did instead: all ranks must call the same operations equally often; "
            "a longer trainer.stall_timeout allows slow steps; a node that hangs again is left out with "
            "`sbatch: {exclude: NODE}` in the site profile",
            ("trainer.stall_timeout", "sbatch"),
        )


def missing_ranks(evidence: Evidence) -> list[int]:
    """Return the ranks that did not wait in a collective; empty if that is not clear.

    Args:
        evidence: of a run in which a collective timed out.
    """
    lines = [*evidence.lines("log"), *evidence.lines("output")]
    for line in lines:
        if match := _MONITORED.search(line.text):
            return [int(number) for number in re.findall(r"\d+", match[1] or match[2])]
    waited = {int(match[1]) for line in lines if (match := _WAITED.search(line.text))}
    missing = sorted(set(range(_world_size(evidence))) - waited)
    return missing if waited and len(missing) <= len(waited) else []


def _world_size(evidence: Evidence) -> int:
    settings = evidence.settings
    nodes, gpus = settings.get("resources.nodes"), settings.get("resources.gpus_per_node")
    if not (isinstance(nodes, int) and isinstance(gpus, int)):
        return 0
    return Resources.model_construct(nodes=nodes, gpus_per_node=gpus).world_size
