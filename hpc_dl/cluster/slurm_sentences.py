"""What Slurm's states, reasons and refusals mean: the reader of the table slurm_sentences.toml."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

# Names of limits in the messages of sbatch, such as QOSMaxSubmitJobPerUserLimit.
_LIMIT = re.compile(r"\b(?:QOS|Assoc|Max)[A-Z]\w+")


@dataclass(frozen=True)
class State:
    """A state of a job.

    Attributes:
        kind: whether the job waits, is alive (running, starting, ending), has ended, or none of
            these for certain.
        means: the state in words.
        seen: the version of Slurm that has it.
    """

    kind: Literal["waiting", "alive", "ended", "unclear"]
    means: str
    seen: str


@dataclass(frozen=True)
class Sentence:
    """A reason for waiting, or a refusal.

    Attributes:
        says: Slurm's words; see the head of the table.
        means: the sentence in words for the user.
        seen: the version of Slurm that has it.
        starts: of a reason, whether the job starts: by itself, after somebody acts, or never.
        remedy: what to do; may be empty.
        keys: the keys of the site profile or of the experiment that the remedy changes.
    """

    says: tuple[str, ...]
    means: str
    seen: str
    starts: Literal["later", "held", "never", ""] = ""
    remedy: str = ""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubmitLimit:
    """A limit for the number of jobs in the queue, and where sacctmgr has its value.

    Attributes:
        column: of sacctmgr.
        of_qos: whether the limit is one of a QOS; otherwise of a user's association with an
            account.
        per_user: whether it counts the jobs of the user.
        per_account: whether it counts the jobs of the account.
    """

    column: str
    of_qos: bool
    per_user: bool
    per_account: bool


@functools.cache
def states() -> Mapping[str, State]:
    """Return all known states, by their name."""
    return {name: State(**entry) for name, entry in _table()["states"].items()}


@functools.cache
def reasons() -> tuple[Sentence, ...]:
    """Return the known reasons for waiting, specific before general."""
    return _sentences("reasons")


@functools.cache
def refusals() -> tuple[Sentence, ...]:
    """Return the known refusals of sbatch, specific before general."""
    return _sentences("refusals")


@functools.cache
def submit_limits() -> Mapping[str, SubmitLimit]:
    """Return the limits for the number of jobs, by the name in a refusal of sbatch."""
    return {name: SubmitLimit(**entry) for name, entry in _table()["submit_limits"].items()}


def reason_for_waiting(text: str) -> Sentence | None:
    """Return the entry for a reason of Slurm; ``None`` for an unknown one."""
    exact = next((sentence for sentence in reasons() if text in sentence.says), None)
    return exact or next((s for s in reasons() if any(fnmatchcase(text, pattern) for pattern in s.says)), None)


def refusal(message: str) -> Sentence | None:
    """Return the entry for a message of sbatch, of one or more lines; ``None`` if unknown."""
    for name in _LIMIT.findall(message):
        if sentence := reason_for_waiting(name):
            return sentence
    lower = message.lower()
    return next((s for s in refusals() if any(part.lower() in lower for part in s.says)), None)


def remedy(message: str, current: Mapping[str, object], partitions: Callable[[], list[str]]) -> str:
    """Return what to do about a refusal of sbatch, with the present values of the keys to change.

    Args:
        message: of sbatch.
        current: the values of the keys in the site profile and the experiment.
        partitions: returns the names of the partitions; called only if they are needed.
    """
    sentence = refusal(message)
    if sentence is None:
        return "`hpc-dl submit --dry-run` shows the batch script that was sent"
    text = sentence.remedy or sentence.means
    if "{partitions}" in text:
        text = text.replace("{partitions}", ", ".join(partitions()) or "see sinfo")
    values = [f"{key} is {current[key]!r}" for key in sentence.keys if key in current]
    return f"{text} (now {', '.join(values)})" if values else text


def _sentences(kind: str) -> tuple[Sentence, ...]:
    entries: list[dict[str, Any]] = _table()[kind]
    return tuple(
        Sentence(**entry | {"says": tuple(entry["says"]), "keys": tuple(entry.get("keys", ()))}) for entry in entries
    )


@functools.cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
