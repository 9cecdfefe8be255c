"""The verdict on a run: one cause, chosen from the findings of all rules."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hpc_dl.cluster.folders import cli_name
from hpc_dl.failures.evidence import Evidence, Line
from hpc_dl.failures.rule import Advice, Finding, Order
from hpc_dl.failures.rules import all_rules

UNKNOWN = "unknown"
_MOST_QUOTES, _LAST_LINES = 3, 8


@dataclass(frozen=True)
class Quote:
    """A line of the evidence as it is shown.

    Attributes:
        file: the file, relative to the run folder, or the command of Slurm.
        line: its number, if it is known.
        text: the line.
    """

    file: str
    line: int | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """Why a run ended, and what to do.

    Attributes:
        rule: the rule that decided, or :data:`UNKNOWN`.
        cause: why it ended.
        remedy: what to do; empty if nothing is known.
        keys: the configuration keys that the remedy changes.
        command: the command that goes on after the remedy.
        resume: whether resuming makes sense; ``None`` if that is unknown.
        rank: the rank whose evidence decided.
        evidence: the lines.
    """

    rule: str
    cause: str
    remedy: str
    keys: tuple[str, ...]
    command: str
    resume: bool | None
    rank: int | None
    evidence: tuple[Quote, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return asdict(self)


def judge(evidence: Evidence) -> Verdict:
    """Decide why a run ended.

    What a person or Slurm says for certain counts most, and what follows from the failure of
    another rank least. In between, the rank that failed first decides; of its findings the most
    specific one (:class:`Order`), and of these the one that was written first.

    Args:
        evidence: of a run that has ended.
    """
    rules = all_rules()
    found = [(name, finding) for name, rule in rules.items() for finding in rule.find(evidence)]
    if not found:
        return _unknown(evidence)

    def place(entry: tuple[str, Finding]) -> tuple[int, bool, int, int]:
        order, line = rules[entry[0]].order, entry[1].line
        weight = 0 if order is Order.CERTAIN else 2 if order.is_consequence else 1
        is_later = evidence.first_rank is not None and line.rank not in (None, evidence.first_rank)
        return weight, is_later, order, evidence.position(line)

    found.sort(key=place)
    name, first = found[0]
    if rules[name].order.is_consequence and evidence.first_rank not in (None, first.line.rank):
        return _unknown(evidence)  # the rank that failed first says nothing that a rule knows
    advice = rules[name].advice(first, evidence)
    lines = list(dict.fromkeys(finding.line for other, finding in found if other == name))[:_MOST_QUOTES]
    return Verdict(
        name, advice.cause, advice.remedy, advice.keys, _command(advice, evidence), advice.resume,
        first.line.rank, _quotes(lines),
    )  # fmt: skip


def _command(advice: Advice, evidence: Evidence) -> str:
    overrides = shlex.join(advice.overrides)
    if advice.resume:
        return f"hpc-dl resume {cli_name(evidence.run)} {overrides}".rstrip()
    return f"hpc-dl submit {shlex.quote(str(evidence.run.config))} {overrides}" if overrides else ""


def _unknown(evidence: Evidence) -> Verdict:
    """The verdict without a rule: the last lines of the rank that failed first."""
    rank = evidence.first_rank
    last = evidence.log_end(rank if rank is not None else 0)[-_LAST_LINES:]
    lines = [*evidence.lines("reason"), *(last or evidence.lines("output")[-_LAST_LINES:]), *evidence.lines("slurm")]
    cause = "no rule knows what these lines say" if lines else "the run left no log, and Slurm says nothing about it"
    return Verdict(UNKNOWN, cause, "", (), "", None, rank, _quotes(lines))


def _quotes(lines: Sequence[Line]) -> tuple[Quote, ...]:
    return tuple(Quote(line.file, line.number, line.text.strip()) for line in lines)
