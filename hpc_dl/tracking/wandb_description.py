"""The description of a run that W&B receives, and the proof of what it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_PREEMPTED = 75  # W&B regards a run that exits with 0 as finished


@dataclass(frozen=True)
class Outcome:
    """The state of a run, and what W&B is to show.

    Attributes:
        state: W&B's name of the state; ``None`` to leave it open.
        exit_code: of the run; ``None`` while it is not over.
        newest: what becomes of the newest row: ``complete``, no values can follow; ``send``, values
            may follow if the run resumes; ``hold``, values may follow soon.
    """

    state: str | None
    exit_code: int | None
    newest: Literal["complete", "send", "hold"]


RUNNING = Outcome("running", None, "hold")
FINISHED = Outcome("finished", 0, "complete")
FAILED = Outcome("failed", 1, "send")
STOPPED = Outcome("preempted", _PREEMPTED, "send")
WAITING = Outcome("preempted", _PREEMPTED, "hold")
"""Stopped, and about to resume on its own."""
LOST = Outcome(None, None, "send")
"""The run ended without a report and may resume; W&B itself notices that no rows arrive."""


@dataclass(frozen=True)
class Description:
    """The description of a run that W&B receives in addition to its rows.

    Attributes:
        name: shown in tables.
        project: the project.
        entity: its owner; ``None`` for the account's default.
        group: of runs.
        tags: labels.
        config: the configuration and facts about the run.
        summary: results, besides the newest value of each metric.
        commit: of the code.
        started: seconds since the epoch.
    """

    name: str
    project: str
    entity: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    started: float = 0.0


@dataclass(frozen=True)
class Proof:
    """What the server has, compared with the journal.

    Attributes:
        expected: lines of the journal that the server should have.
        received: lines that it has.
        last_step: global step of the newest line.
        state: the state that W&B shows.
        url: the run's page.
        problem: what does not agree; empty if all does.
        missing: which files it does not have; empty if it has all.
    """

    expected: int
    received: int
    last_step: int
    state: str
    url: str
    problem: str = ""
    missing: str = ""
