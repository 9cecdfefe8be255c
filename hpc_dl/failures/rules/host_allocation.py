"""Main memory: an allocation was refused, or a worker of a data loader was killed."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule
from hpc_dl.failures.rules.host_memory import more_memory


class HostAllocation(Rule):
    """Python, NumPy or torch say that there is no main memory left."""

    patterns = (
        r"^(?:\w+\.)*(?:MemoryError|_ArrayMemoryError)\b",
        r"Unable to allocate [\d.]+ [KMGT]iB for an array",
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
        r"std::bad_alloc",
        r"^memory: there is not enough of it",
        r"^DefaultCPUAllocator",
        r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) is killed by signal: Killed",
        r"\[Errno 12\] Cannot allocate memory",
    )

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Propose more memory."""
        return more_memory(evidence, "an allocation of main memory failed: the process reached the limit of")
