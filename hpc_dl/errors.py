"""What may be a user's fault, and how it is told.

Every error that a user can mend is an :class:`HpcDlError` holding one or more :class:`Fault`; the
command line prints one line for each and exits with status 2. Anything else that is raised is our
own defect and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_ABSENT = object()


@dataclass(frozen=True)
class Fault:
    """One mistake, told in one line.

    Attributes:
        where: a dotted path of the configuration (``optimizer.lr``), a file, or ``file:/dataset``.
        problem: what is wrong, without a full stop.
        value: the offending value; left out of the line when not given.
        allowed: what would have been valid.
        remedy: what to do next, as an imperative.
    """

    where: str
    problem: str
    value: object = _ABSENT
    allowed: str = ""
    remedy: str = ""

    def __hash__(self) -> int:
        return hash(str(self))  # a value may be a list

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}"
        details = []
        if self.value is not _ABSENT:
            details.append(f"got {_shorten(repr(self.value))}")
        if self.allowed:
            details.append(f"allowed: {self.allowed}")
        if details:
            line += f" ({'; '.join(details)})"
        if self.remedy:
            line += f". {self.remedy[0].upper()}{self.remedy[1:]}"
        return " ".join(line.split())


class HpcDlError(Exception):
    """Base of all errors that are the user's to mend; ``str()`` gives one line for each fault."""

    exit_status = 2

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))

    @classmethod
    def at(cls, where: object, problem: str, **details: object) -> Self:
        """The error with a single fault; ``details`` are the other fields of :class:`Fault`."""
        return cls(Fault(str(where), problem, **details))  # type: ignore[arg-type]


class ConfigError(HpcDlError):
    """The experiment's YAML, an override or a site profile is wrong."""


class DataError(HpcDlError):
    """A data file is missing, damaged, or does not fit the experiment."""


class RunError(HpcDlError):
    """A run folder is unknown, ambiguous, or in a state that forbids what was asked."""


class ClusterError(HpcDlError):
    """Slurm, or this machine, cannot do what was asked."""


class Stopped(HpcDlError):
    """A training was told to stop, and did so after its last whole step, with a checkpoint to go on
    from.
    """

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: try again


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the closest of the known words, or nothing when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else ""


def _shorten(text: str, width: int = 120) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
