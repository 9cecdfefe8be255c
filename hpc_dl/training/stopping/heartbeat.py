"""How far a rank has come, and the file in which it reports that to the other ranks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple


class Progress(NamedTuple):
    """The last boundary that a rank has passed.

    Each boundary creates a new object, so that another object means progress.

    Attributes:
        major: number of boundaries passed that all ranks pass equally often, such as training
            batches and epochs.
        minor: number of boundaries passed since the last major one, such as evaluation batches, of
            which one rank may have more than another.
        boundary: the last boundary, as text.
        batch: index of the batch, from 0, where the boundary belongs to one.
        epoch: number of the epoch, from 1; 0 outside of all epochs.
        phase: long work outside of the batches, as text; may take ``patience`` times the timeout.
    """

    major: int
    minor: int
    boundary: str
    batch: int | None = None
    epoch: int = 0
    phase: str = ""
    patience: float = 1.0

    def __str__(self) -> str:
        batch = "" if self.batch is None else f" {self.batch + 1}"
        epoch = f" of epoch {self.epoch}" if self.epoch else ""
        return f"{self.phase}{' ' * bool(self.phase)}{self.boundary}{batch}{epoch}"


@dataclass(frozen=True)
class Heartbeat:
    """What one rank reports to the others, in its file.

    Attributes:
        rank: number of the process.
        attempt: what the ranks of one attempt share; files of other attempts are ignored.
        host: its node.
        pid: its process id on that node.
        beat: number of times that this attempt has written the file.
        passed: major and minor number of its progress; the rank with the smallest pair is behind.
        place: its progress as text, such as ``in train batch 14 of epoch 3``.
        activity: what its training thread does at that place, read from the thread's stack.
        waits: whether that is certainly waiting for other ranks.
        stalled_s: seconds without progress.
    """

    rank: int
    attempt: str
    host: str
    pid: int
    beat: int
    passed: tuple[int, int]
    place: str
    activity: str
    waits: bool
    stalled_s: float

    def write(self, folder: Path) -> None:
        """Replace the rank's file atomically.

        Without fsync: what is lost when the node crashes is useless after the crash.
        """
        new = folder / f".rank-{self.rank}.json"
        new.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        new.replace(folder / f"rank-{self.rank}.json")

    @classmethod
    def read(cls, folder: Path, rank: int, attempt: str) -> Heartbeat | None:
        """Read a rank's heartbeat; ``None`` where it has none in this attempt.

        Raises:
            OSError: the file exists, but cannot be read.
        """
        try:
            content = json.loads((folder / f"rank-{rank}.json").read_text(encoding="utf-8"))
            heartbeat = cls(**content | {"passed": tuple(content["passed"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return heartbeat if heartbeat.attempt == attempt else None
