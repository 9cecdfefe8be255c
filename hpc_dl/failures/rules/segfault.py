"""A crash in compiled code, with the statement that called it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpc_dl.cluster.crash import crash_in
from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Order, Rule
from hpc_dl.failures.rules.collective_timeout import CollectiveTimeout
from hpc_dl.failures.rules.connection_lost import ConnectionLost

_ABORTS = re.compile("|".join((*CollectiveTimeout.patterns, *ConnectionLost.patterns)))


class Segfault(Rule):
    """SIGSEGV, SIGABRT or SIGFPE, with the stack that Python has written."""

    order = Order.ERROR
    patterns = (
        r"^(?:rank \d+ |srun )?crashed \((?P<name>SIG\w+)\)",
        r"^it crashed: (?P<name>.*)",
        r"srun: error: .*: (?P<name>Segmentation fault|Aborted|Floating point exception)",
        r"Fatal Python error: (?P<name>Segmentation fault|Aborted|Floating-point exception|Floating point exception)",
        r"^State=FAILED ExitCode=(?:0:11|139:0|0:6|134:0)\b",
    )
    sources = ("log", "output", "reason", "slurm")

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Leave out what torch aborts by itself, when a rank waits for another one too long."""
        aborts = any(_ABORTS.search(line.text) for source in self.sources for line in evidence.lines(source))
        for finding in super().find(evidence):
            if not (aborts and re.search("Abort|SIGABRT|134|0:6", finding.line.text)):
                yield finding

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the statement."""
        rank = finding.line.rank if finding.line.rank is not None else evidence.first_rank or 0
        crash = crash_in(evidence.run.log(rank)) or finding.groups.get("name", "") or "a signal"
        return Advice(
            f"a rank crashed in compiled code: {crash}",
            "if the statement is yours, look at what it calls; if not, try other versions of that package, with "
            "`faulthandler` stacks in the log of the rank",
        )
