"""A signal ended a rank, and nothing says who sent it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule
from hpc_dl.failures.rules.host_memory import more_memory

_FIRST_ERROR = re.compile(r"srun: error: (?P<node>\S+): tasks? [\d,-]+: (?P<what>.*)")
# The kills that Slurm announces have a better reason.
_BY_SLURM = re.compile(r"CANCELLED AT \S+ DUE TO ")
_ENDED_BY_SLURM = ("TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "CANCELLED")


class Killed(Rule):
    """SIGKILL, in srun's first message or in the launcher's."""

    order = Order.ERROR
    patterns = (r"was killed by SIGKILL", r"^srun ended with status 137", r"^srun was killed by SIGKILL")
    sources = ("reason",)

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Of srun's messages only the first counts: it kills the other ranks itself."""
        output = evidence.lines("output")
        if evidence.slurm.state in _ENDED_BY_SLURM or any(_BY_SLURM.search(line.text) for line in output):
            return
        yield from super().find(evidence)
        for line in output:
            if match := _FIRST_ERROR.search(line.text):
                if match["what"].startswith("Killed"):
                    yield Finding(line, match.groupdict())
                break
        else:
            for line in evidence.lines("slurm"):
                if re.search(r"^State=FAILED ExitCode=(?:137:0|0:9)\b", line.text):
                    yield Finding(line)

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Say that memory is the usual reason, but not a certain one."""
        return more_memory(
            evidence, "a rank was killed (SIGKILL), most often because the node's memory was full; it has"
        )
