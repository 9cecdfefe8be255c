"""Bring a run in W&B up to date with its journal: ask the server, send the rest, verify."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from hpc_dl.errors import escape_control_characters
from hpc_dl.tracking.wandb_description import Description, Outcome, Proof
from hpc_dl.tracking.wandb_errors import Refused
from hpc_dl.tracking.wandb_media import Media, media_files
from hpc_dl.tracking.wandb_outbox import GLOBAL_STEP, Outbox, Row, latest
from hpc_dl.tracking.wandb_record import WandbRecord
from hpc_dl.tracking.wandb_responses import DescribedRun, SentRun
from hpc_dl.tracking.wandb_server import EVENTS, HISTORY, SUMMARY, WandbServer, json_lines

_MOST_LINES, _MOST_BYTES = 2000, 4_000_000  # of one request; wandb-core sends up to 10 MB
_LAG_S = (0.5, 1.0, 2.0, 4.0)
_SAME_TIME_S = 1.0  # a server may keep whole seconds


T = TypeVar("T")


class Upload:
    """The upload of one run; the caller holds the run's upload lock during each call.

    After an error, or a proof with a problem, it must be replaced by another one, which asks the
    server again what it has.

    Attributes:
        record: what the run folder knows about its W&B run.
    """

    def __init__(self, run_folder: Path, record: WandbRecord, server: WandbServer) -> None:
        """Read the outbox; nothing is sent yet.

        Raises:
            OSError: the outbox cannot be read.
            ValueError: it is damaged.
        """
        self.record = record
        self._folder = run_folder
        self._server = server
        self._outbox = Outbox(run_folder / "wandb" / "history.jsonl")
        self._media = Media(run_folder, record, server)
        self._place: tuple[str, str, str] | None = None  # entity, project, run
        self._described: Description | None = None
        self._received = 0  # lines on the server
        self._latest: Row = {}
        self._summary = ""
        self._num_events = 0

    @property
    def connected(self) -> bool:
        """Whether the server has shown what it has, so that ``record.url`` is its page."""
        return self._place is not None

    def is_current(self, record: WandbRecord) -> bool:
        """Whether no other process has uploaded the run meanwhile."""
        return self.record.id == record.id and self._outbox.is_current

    @property
    def place(self) -> tuple[str, str, str] | None:
        """Entity, project and id of the run; ``None`` before it is connected."""
        return self._place

    def send(
        self, description: Description, rows: Sequence[Row], outcome: Outcome, events: Sequence[Row] = ()
    ) -> Proof:
        """Send what the server lacks.

        Args:
            description: of the run.
            rows: the journal, one row for each step; after the first call the new rows are enough.
            outcome: the state of the run.
            events: new measurements of the system.

        Returns:
            What the server has afterward.

        Raises:
            WandbError: the server cannot be reached, or refuses.
            OSError: the run folder cannot be written.
        """
        self._outbox.add(rows[:-1] if outcome.newest == "hold" else rows, description.started)
        self._latest |= latest(rows)
        summary = self._latest | description.summary
        if self._place is None:
            if proof := self._nothing_to_do(summary, outcome):
                return proof
            if not self._connect(description):
                self._outbox.clear()
                return Upload(self._folder, self.record, self._server).send(description, rows, outcome, events)
        elif description != self._described:
            self._upsert(description, new=False)
        self._send_lines()
        files: dict[str, Any] = {}
        if (text := json.dumps(summary, allow_nan=False)) != self._summary:
            files[SUMMARY] = {"offset": 0, "content": [text]}
        if events:
            files[EVENTS] = {"offset": self._num_events, "content": json_lines(events)}
        self._stream(files)
        self._summary = text
        self._num_events += len(events)
        return self._verify(outcome)

    def _nothing_to_do(self, summary: Row, outcome: Outcome) -> Proof | None:
        """The proof that the server has all of a run that is over; ``None`` if it lacks anything.

        Only reads, since any change would show a finished run as running.
        """
        record = self.record
        if (
            outcome.newest == "hold"
            or record.refused_files
            or not record.url
            or not record.entity
            or not record.project
        ):
            return None
        shown = self._server.run(record.entity, record.project, record.id)
        if shown is None or shown.num_rows != self._outbox.count:
            return None
        last = shown.keys.get("lastStep")
        if self._outbox.count and last not in (None, self._outbox.line(self._outbox.count - 1)["_step"]):
            return None
        if any(
            shown.summary.get(name) != value for name, value in summary.items() if isinstance(value, (int, float, str))
        ):
            return None
        if outcome.state not in (None, shown.state):
            return None
        return self._proof(self._outbox.count, shown.state, "")

    def _connect(self, description: Description) -> bool:
        """Find out what the server has.

        Returns:
            Whether that is the beginning of the outbox. Otherwise the run continues under a new id.
        """
        record = self.record
        record.project = record.project or description.project
        record.entity = record.entity or description.entity or self._server.default_entity() or None
        known = self._server.resume_status(record.entity or "", record.project, record.id)
        try:
            if not self._is_ours(known):
                return self._replace()
            bucket = self._upsert(description, new=known is None)
        except Refused as error:
            if error.status != 409 or record.url is None:  # W&B: a deleted run's id cannot be used again
                raise
            return self._replace()
        record.project = bucket.project or record.project
        record.entity = bucket.entity or record.entity or ""
        self._place = (record.entity, record.project, record.id)
        path = "/".join(quote(part) for part in (record.entity, record.project, "runs", record.id))
        url = f"{self._server.app_url}/{path}"
        if url != record.url:
            record.url = url
            record.save(self._folder)
        self._received = known.num_rows if known else 0
        self._num_events = known.num_events if known else 0
        self._media.send(self._place, record.refused_files)
        return True

    def _replace(self) -> bool:
        self.record.replace()
        self.record.save(self._folder)
        return False

    def _is_ours(self, known: SentRun | None) -> bool:
        """Whether the server's lines are the first ones of the outbox; the last one decides.

        Its time counts, too: a run folder may be copied, and both may go on.
        """
        if known is None or known.num_rows == 0:
            return True
        if known.num_rows > self._outbox.count:
            return False
        mine = self._outbox.line(known.num_rows - 1)
        line = known.last_rows[-1] if known.last_rows else {}
        if any(line.get(name, mine[name]) != mine[name] for name in ("_step", GLOBAL_STEP)):
            return False
        logged = line.get("_timestamp", mine["_timestamp"])
        return isinstance(logged, (int, float)) and abs(logged - mine["_timestamp"]) < _SAME_TIME_S

    def _upsert(self, description: Description, *, new: bool) -> DescribedRun:
        """Describe the run; name and notes only once, because people may change them in W&B."""
        self._described = description
        record = self.record
        notes = [f"Replaces {page}, whose rows are not those of this run." for page in record.replaces]
        links = {"replaces": record.replaces} if record.replaces else {}
        # The x-axis of all charts is the global step, as `define_metric("*", step_metric=…)` says.
        metrics = [{"1": GLOBAL_STEP, "6": [3], "7": []}, {"2": "*", "5": 1, "6": [1], "7": []}]
        config = {name: {"value": value} for name, value in (description.config | links).items()}
        config["_wandb"] = {"value": {"m": metrics, "t": {}}}
        return self._server.upsert(
            name=record.id,
            project=record.project,
            entity=record.entity,
            displayName=description.name if new else None,
            groupName=description.group,
            jobType="train",
            tags=list(description.tags),
            commit=description.commit,
            notes="\n".join(notes) if new and notes else None,
            config=json.dumps(config, allow_nan=False, default=str),
        )

    def _send_lines(self) -> None:
        assert self._place is not None
        for chunk in _chunks(self._outbox.lines(self._received) if self._received < self._outbox.count else ()):
            self._media.send(self._place, media_files(chunk))
            self._send_rows(chunk)

    def _send_rows(self, lines: list[str]) -> None:
        """Send lines of the history, in parts if that is too much for a proxy or the server."""
        try:
            self._stream({HISTORY: {"offset": self._received, "content": lines}})
        except Refused as error:
            if error.status != 413:
                raise
            if len(lines) == 1:
                step = json.loads(lines[0])[GLOBAL_STEP]
                size = f"{len(lines[0]):,} bytes"
                raise Refused(f"{error}: the row of step {step:,} has {size}, too many for the server", 413) from None
            for part in (lines[: len(lines) // 2], lines[len(lines) // 2 :]):
                self._send_rows(part)
        else:
            self._received += len(lines)

    def _stream(self, files: dict[str, Any]) -> None:
        assert self._place is not None
        self._server.stream(*self._place, {"files": files} if files else {})

    def _verify(self, outcome: Outcome) -> Proof:
        """Compare the lines, then say how the run ended, then compare the state."""
        assert self._place is not None
        place = self._place
        known = _settled(lambda: self._server.resume_status(*place), self._is_complete)
        received = known.num_rows if known else 0
        if received != self._outbox.count:
            return self._proof(received, "running", f"the server has {received:,} of {self._outbox.count:,} rows")
        if not self._is_ours(known):
            return self._proof(received, "running", "the server's last row is not that of this run")
        if outcome.exit_code is None:
            return self._proof(received, outcome.state or "open", "")
        body = {"complete": True, "exitcode": outcome.exit_code, "preempting": outcome.state == "preempted"}
        self._server.stream(*self._place, body)
        shown = _settled(lambda: self._server.run(*place), lambda run: run is not None and run.state == outcome.state)
        state = shown.state if shown else "unknown"
        return self._proof(received, state, "" if state == outcome.state else f"W&B shows the run as {state}")

    def _is_complete(self, known: SentRun | None) -> bool:
        return (known.num_rows if known else 0) == self._outbox.count and self._is_ours(known)

    def _proof(self, received: int, state: str, problem: str) -> Proof:
        last = self._outbox.last_step()
        text = escape_control_characters(problem)
        return Proof(self._outbox.count, received, last, state, self.record.url or "", text, self._media.problem)


def _settled(ask: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """The right answer, or the last one: a server may need a moment to count what arrived."""
    for wait_s in _LAG_S:
        if is_right(answer := ask()):
            return answer
        time.sleep(wait_s)
    return ask()


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) == _MOST_LINES or size + len(line) > _MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk
