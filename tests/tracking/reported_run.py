"""A run with a journal and W&B, whose training is a loop that logs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.wandb_account import account
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_description import FINISHED, Description, Outcome, Proof
from hpc_dl.tracking.wandb_errors import SharedPatience
from hpc_dl.tracking.wandb_record import WandbRecord, upload_lock
from hpc_dl.tracking.wandb_rows import read_rows
from hpc_dl.tracking.wandb_server import WandbServer
from hpc_dl.tracking.wandb_tracker import WandbTracker
from hpc_dl.tracking.wandb_upload import Upload

from .fake_wandb import FakeWandb

DESCRIPTION = Description("a run", "hpc_dl", group="seeds", tags=["a"], config={"width": 64}, summary={"best": 0.5})
LIMIT_S = 20.0
"""Far above what any step of a test needs."""


class ReportedRun:
    """One run in a folder.

    Attributes:
        messages: what its attempts said.
        num_stops: how often they were to stop.
    """

    def __init__(self, folder: Path, server: FakeWandb) -> None:
        self.folder = folder / "run"
        self.folder.mkdir(exist_ok=True)
        self.messages: list[str] = []
        self.num_stops = 0
        self._server = server

    @property
    def id(self) -> str:
        """Its id in W&B."""
        return self.record().id

    def record(self) -> WandbRecord:
        """What its folder knows about its W&B run."""
        return WandbRecord.of(self.folder)

    def attempt(self, number: int = 0, from_step: int = 0, mode: str = "auto", num_nodes: int = 1) -> AttemptOfRun:
        """Start an attempt."""
        journal = JournalLogger(self.folder / "journal", number, from_step)
        tracker = WandbTracker(
            WandbConfig(mode=mode),  # type: ignore[arg-type]
            journal,
            folder=self.folder,
            attempt=number,
            from_step=from_step,
            describe=lambda: DESCRIPTION,
            say=self.messages.append,
            sync_command="hpc-dl sync RUN",
            stop=self._stop,
            num_nodes=num_nodes,
        )
        return AttemptOfRun(self, journal, tracker)

    def _stop(self) -> None:
        self.num_stops += 1

    def sync(self, outcome: Outcome = FINISHED) -> Proof:
        """Upload the run as ``hpc-dl sync`` does."""
        patience = SharedPatience(self.messages.append)
        with upload_lock(self.folder, LIMIT_S) as acquired:
            assert acquired
            upload = Upload(self.folder, WandbRecord.of(self.folder), WandbServer(account(), patience))
            return upload.send(DESCRIPTION, read_rows(self.folder, self.folder / "journal"), outcome)

    def wait_for_message(self, text: str) -> None:
        """Wait until a message contains a text."""
        wait(lambda: any(text in message for message in self.messages))

    def other_messages(self) -> list[str]:
        """All messages except the run's page."""
        return [message for message in self.messages if "/runs/" not in message]

    def num_rows(self) -> int:
        """The number of rows on the server."""
        return len(self._server.rows.get(self.id, []))

    def check(self, num_rows: int, state: str = "finished") -> None:
        """Check that the server has each row of the journal once, and the right state."""
        journal = {
            row["step"]: {name: row[name] for name in row if name not in ("step", "time") and row[name] is not None}
            for row in read_journal(self.folder / "journal")
        }
        assert len(journal) == num_rows
        assert self._server.values(self.id) == journal
        assert (self._server.duplicates(self.id), self._server.dropped) == (0, {})
        assert self._server.state(self.id) == state


class AttemptOfRun:
    """One attempt: a journal, and the tracker that reports it."""

    def __init__(self, run: ReportedRun, journal: JournalLogger, tracker: WandbTracker) -> None:
        self._run = run
        self._journal = journal
        self.tracker = tracker
        _ = journal.experiment, tracker.experiment  # as Lightning does before it trains

    def log(self, first: int, last: int) -> None:
        """Log the rows of steps ``first`` … ``last``, every fifth with a validation."""
        for step in range(first, last + 1):
            self._add({"train/loss": 1.0 / step}, step)
            if step % 5 == 0:
                self._add({"val/loss": 2.0 / step}, step)

    def _add(self, values: dict[str, float], step: int) -> None:
        self.tracker.log_metrics({**values, "epoch": 0}, step)

    def wait_for_rows(self, number: int) -> None:
        """Wait until the server has so many rows."""
        wait(lambda: self._run.num_rows() >= number)

    def end(self, outcome: Outcome = FINISHED, limit_s: float | None = None) -> float:
        """End the attempt; returns the seconds that it took."""
        started = time.monotonic()
        self.tracker.finish(outcome, limit_s)
        self._journal.close()
        return time.monotonic() - started

    def kill(self) -> None:
        """End the attempt without a word, as SIGKILL does."""
        reporter = self.tracker._reporter
        if reporter is not None:
            reporter._pass = lambda over: None  # type: ignore[method-assign]
            reporter._over.set()
            reporter._patience.hurry(0)
            reporter._thread.join(LIMIT_S)
            self.tracker._reporter = None
        self._run.messages.clear()
        self.end()


def wait(condition: Callable[[], bool], timeout_s: float = LIMIT_S) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.01)
