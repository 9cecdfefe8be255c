"""Main memory: Slurm or the kernel killed a process because the job used more than it requested."""

from __future__ import annotations

import math

from hpc_dl.config.resources import parse_gib
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule

_GROWTH, _MARGIN = 1.5, 1.25


class HostMemory(Rule):
    """Slurm's own report, or the kernel's."""

    order = Order.CERTAIN
    patterns = (
        r"^State=OUT_OF_MEMORY\b",
        r"oom[-_ ]kill event",
        r"srun: error: .*: Out Of Memory",
        r"slurmstepd: error: .*[Ee]xceeded .*memory limit",
        r"[Oo]ut of memory: Kill(?:ed)? process \d+",
        r"oom-kill:constraint=CONSTRAINT_",
    )
    sources = ("slurm", "output", "log")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Propose half as much again, or a margin above what was measured."""
        return more_memory(evidence, "Slurm or the kernel killed it for using more main memory than")


def more_memory(evidence: Evidence, problem: str) -> Advice:
    """Propose more main memory.

    Args:
        evidence: of the run.
        problem: why it ended, up to the amount that it requested.
    """
    try:  # sacct has the sum over all nodes
        requested = parse_gib(str(evidence.settings.get("resources.memory")))
    except ValueError:
        requested = 0.0
    used = evidence.slurm.used_gib
    when = "" if evidence.has_trained else ", while it loaded its data or model"
    measured = f" (a task used {used:.3g} GiB when Slurm last measured it)" if used else ""
    amount = f" the {requested:.4g} GiB requested" if requested else " requested"
    if not requested:
        return Advice(f"{problem}{amount}{measured}{when}", "increase resources.memory", ("resources.memory",))
    proposed = math.ceil(max(requested * _GROWTH, (used or 0.0) * _MARGIN))
    return Advice(
        f"{problem}{amount}{measured}{when}",
        f"request more: resources.memory={proposed}G; or read less at once (smaller data.batch_size in a new run)",
        ("resources.memory",),
        (f"resources.memory={proposed}G",),
    )
