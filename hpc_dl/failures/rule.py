"""The base class of the rules: what a rule looks for, and what it says."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from hpc_dl.failures.evidence import Evidence, Line, Source

_EMPTY = re.compile(r" \(\)|:?\s*$")  # what a group that is not in the message leaves behind


class Order(IntEnum):
    """Which of several findings is the cause: the first of this list."""

    CERTAIN = 0
    """A person or Slurm says it: cancelled, out of memory."""
    SPECIFIC = 1
    """A message that has one meaning."""
    ERROR = 2
    """Any error of a rank."""
    ENDING = 3
    """How Slurm ended the job: time limit, preemption, failed node."""
    WAITED = 4
    """A rank waited in vain for another one."""
    DISCONNECTED = 5
    """A rank lost its connection to another one."""

    @property
    def is_consequence(self) -> bool:
        """Whether another rank is the cause, if it says anything."""
        return self in (Order.WAITED, Order.DISCONNECTED)


@dataclass(frozen=True)
class Finding:
    """A line that a rule recognizes.

    Attributes:
        line: the line.
        groups: the named groups of the pattern.
    """

    line: Line
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """What a rule says about its finding.

    Attributes:
        cause: why the run ended, one clause.
        remedy: what to do, in the imperative.
        keys: the configuration keys that the remedy changes.
        overrides: ``KEY=VALUE`` for the command that goes on.
        resume: whether resuming makes sense after the remedy; otherwise a new run is needed.
    """

    cause: str
    remedy: str
    keys: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    resume: bool = True


class Rule(ABC):  # noqa: B024  # abstract for its class attributes
    """One cause of failures. A subclass sets these attributes, and overrides a method if need be.

    Attributes:
        order: its place among other findings.
        patterns: regular expressions; the named groups fill ``{name}`` in ``cause`` and ``remedy``.
        sources: where they are searched, best evidence first.
        cause: see :class:`Advice`, as for the following.
        remedy: what to do.
        keys: the keys.
        overrides: the overrides.
        resume: whether resuming makes sense.
    """

    order: ClassVar[Order] = Order.SPECIFIC
    patterns: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[tuple[Source, ...]] = ("log", "output", "reason")
    cause: ClassVar[str] = ""
    remedy: ClassVar[str] = ""
    keys: ClassVar[tuple[str, ...]] = ()
    overrides: ClassVar[tuple[str, ...]] = ()
    resume: ClassVar[bool] = True

    def find(self, evidence: Evidence) -> Iterator[Finding]:
        """Yield the lines that show this cause, the best evidence first."""
        compiled = [re.compile(pattern) for pattern in self.patterns]
        for source in self.sources:
            for line in evidence.lines(source):
                for pattern in () if line.is_in_stack else compiled:
                    if match := pattern.search(line.message):
                        groups = match.groupdict(default="")
                        yield Finding(line, {name: " ".join(value.split()) for name, value in groups.items()})
                        break

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Return what to say about a finding."""
        fill = _Blank(finding.groups)
        cause = _EMPTY.sub("", self.cause.format_map(fill))
        return Advice(" ".join(cause.split()), self.remedy.format_map(fill), self.keys, self.overrides, self.resume)


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
