"""The evidence of a failed run: what its ranks, its batch script and Slurm have written.

Everything is read once, when a rule first asks for it, and only the start and the end of a large
file. Nothing is executed, and torch is not imported.
"""

from __future__ import annotations

import datetime
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpc_dl.cluster.accounting import Accounting, accounting_of
from hpc_dl.cluster.slurm import job_of
from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import check_regular
from hpc_dl.runs import attempts, checkpoints
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_cancelled, read_job
from hpc_dl.runs.settings import settings_of
from hpc_dl.runs.state import read_state

#: Where a rule looks: the reason that the run recorded, the ends of the ranks' logs, what the batch
#: script and srun printed, what Slurm's accounting says.
Source = Literal["reason", "log", "output", "slurm"]
_SOURCES: tuple[Source, ...] = ("log", "output", "reason", "slurm")

_HEAD_BYTES, _TAIL_BYTES = 64 << 10, 512 << 10
_MOST_CHARACTERS, _MOST_LINES = 2000, 200
_MOST_RANKS = 32
_HEADER = re.compile(r"=== (\S+) rank \d+ on .*")
_JOB = re.compile(r"Slurm job (\d+(?:_\d+)?)")
# hpc_dl's own messages: what comes before the last one did not end the training.
_STAMPED = re.compile(r"\d\d:\d\d:\d\d \S")
_SUBMITIT_STARTS = "Starting with JobEnvironment"
_RANK_OF_OUTPUT = re.compile(r"_(\d+)_log\.(?:out|err)$")
_LABEL = re.compile(r"^(?:\[(?:rank|default)?\d+\]:\s?|\d+: )+")  # of torchrun, and of srun --label
_FIRST_FAILED_TASK = re.compile(r"srun: error: \S+ tasks? (\d+)[-,\d]*: (?!.*\bexit code 0\b)")


@dataclass(frozen=True)
class Line:
    """One line of the evidence.

    Attributes:
        file: the file, relative to the run folder, or the command of Slurm.
        number: the line's number, from 1; ``None`` in the end of a large file, and for a command.
        text: the line, of limited length; may contain control characters.
        rank: the rank that wrote it, if one did.
    """

    file: str
    number: int | None
    text: str
    rank: int | None = None

    @property
    def where(self) -> str:
        """``FILE:NUMBER``, as far as it is known."""
        return self.file if self.number is None else f"{self.file}:{self.number}"

    @functools.cached_property
    def message(self) -> str:
        """The text without the label of a rank before it."""
        return _LABEL.sub("", self.text)

    @property
    def is_in_stack(self) -> bool:
        """Whether it names a place or quotes a statement in a traceback: code, not a message."""
        return self.message.startswith(("    ", '  File "'))


class Evidence:
    """All that is known about the end of a run.

    Attributes:
        run: the run.
        slurm: what Slurm's accounting says; empty where it says nothing.
    """

    def __init__(self, run: RunFolder, slurm: Accounting | None = None) -> None:
        """Read nothing yet.

        Args:
            run: the run.
            slurm: what Slurm's accounting says.
        """
        self.run = run
        self.slurm = slurm or Accounting()

    @classmethod
    def with_accounting(cls, run: RunFolder) -> Evidence:
        """Return the evidence of a run with what Slurm's accounting says; asks Slurm."""
        job = job_of(cls(run).job)
        return cls(run, accounting_of(job) if job is not None else None)

    @functools.cached_property
    def state(self) -> dict[str, Any]:
        """The run's own state; see :func:`hpc_dl.runs.state.read_state`."""
        return read_state(self.run)

    @functools.cached_property
    def job(self) -> dict[str, Any]:
        """How the run was launched; empty if that is unknown."""
        with suppress(HpcDlError, OSError):
            return read_job(self.run)
        return {}

    @functools.cached_property
    def cancelled_by(self) -> str:
        """Who cancelled the run with ``hpc-dl cancel``; empty if nobody did."""
        with suppress(HpcDlError, OSError):
            return str(read_cancelled(self.run).get("by", ""))
        return "somebody"

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The run's configuration by dotted keys; empty if it cannot be read."""
        return settings_of(self.run)

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """The run's attempts; see :func:`hpc_dl.runs.attempts.history`."""
        with suppress(HpcDlError, OSError):
            return attempts.history(self.run)
        return []

    @functools.cached_property
    def checkpoint_step(self) -> int | None:
        """The step of the newest checkpoint; ``None`` without one."""
        with suppress(OSError):
            saved = checkpoints.listed(self.run.checkpoints, "step")
            return saved[-1].step if saved else None
        return None

    @functools.cached_property
    def first_rank(self) -> int | None:
        """The rank that failed first: srun names it first, or it has recorded its failure."""
        for line in self.lines("output"):
            if match := _FIRST_FAILED_TASK.search(line.text):
                return int(match[1])
        rank = self.state.get("rank")
        return rank if isinstance(rank, int) else None

    def lines(self, source: Source) -> Sequence[Line]:
        """The lines of a source; of logs and outputs only the end of the last attempt."""
        return self._lines[source]

    @functools.cached_property
    def has_trained(self) -> bool:
        """Whether the run has recorded metrics of a step."""
        with suppress(OSError):
            return any(path.stat().st_size for path in self.run.journal.glob("attempt-*.jsonl"))
        return False

    def position(self, line: Line) -> int:
        """The place of a line in the evidence; what a rank wrote first comes first."""
        return self._positions.get(line, -1)

    @functools.cached_property
    def _positions(self) -> dict[Line, int]:
        ordered = [line for source in _SOURCES for line in self.lines(source)]
        return {line: position for position, line in reversed(list(enumerate(ordered)))}

    def log_end(self, rank: int | None) -> list[Line]:
        """The end of a rank's log."""
        return [line for line in self.lines("log") if line.rank == rank]

    @functools.cached_property
    def _lines(self) -> Mapping[Source, Sequence[Line]]:
        slurm = [Line("sacct", None, str(self.slurm))] if str(self.slurm) else []
        return {
            "reason": list(self._reason()),
            "log": [line for path in self._logs() for line in self._end_of_log(path)],
            "output": [line for path in self._outputs() for line in self._end_of_output(path)],
            "slurm": slurm,
        }

    def _reason(self) -> Iterator[Line]:
        reason = self.state.get("reason")
        if isinstance(reason, str) and reason:
            written = _read(self.run.state, "state.json", None)
            number = next((line.number for line in written if '"reason"' in line.text), None)
            yield Line("state.json", number, reason[:_MOST_CHARACTERS], self.state.get("rank"))

    def _logs(self) -> list[tuple[int, Path]]:
        ranks = sorted(
            (int(number), path)
            for path in self.run.logs.glob("rank-*.log")
            if (number := path.stem.removeprefix("rank-")).isdecimal()
        )
        chosen = self.state.get("rank")
        return [found for position, found in enumerate(ranks) if position < _MOST_RANKS or found[0] == chosen]

    def _end_of_log(self, found: tuple[int, Path]) -> list[Line]:
        rank, path = found
        lines = _read(path, f"logs/{path.name}", rank)
        for position in range(len(lines) - 1, -1, -1):
            if header := _HEADER.match(lines[position].text):
                if self._is_older(header):
                    return []
                lines = lines[position + 1 :]
                break
        stamped = [position for position, line in enumerate(lines) if _STAMPED.match(line.text)]
        return lines[stamped[-1] if stamped else 0 :][-_MOST_LINES:]

    def _is_older(self, header: re.Match[str]) -> bool:
        """Whether a rank's log is of an earlier job: this one has ended before its ranks began."""
        job, own = _JOB.search(header[0]), str(self.job.get("job_id", ""))
        if job and own:
            return job[1] != own and job[1].partition("_")[0] != own.partition("_")[0]
        with suppress(ValueError, TypeError):
            submitted = datetime.datetime.fromisoformat(str(self.job.get("submitted")))
            return datetime.datetime.fromisoformat(header[1]) < submitted - datetime.timedelta(seconds=2)
        return False

    def _outputs(self) -> list[Path]:
        """What the batch script and the ranks printed before their logs began."""
        files = [path for pattern in ("*.out", "*.err", "*.log") for path in sorted(self.run.submitit.glob(pattern))]
        own = str(self.job.get("job_id", ""))
        of_job = [path for path in files if own.isdecimal() and path.name.startswith((f"{own}_", f"{own}."))]
        chosen = of_job or [path for path in files if not self._is_before_job(path)] or files
        return [*chosen[:_MOST_RANKS], self.run.path / "requeue-refused"]

    def _is_before_job(self, path: Path) -> bool:
        """Whether a file is of an earlier job: those of arrays and local runs do not name it."""
        with suppress(OSError, ValueError, TypeError):
            submitted = datetime.datetime.fromisoformat(str(self.job.get("submitted")))
            return path.stat().st_mtime < submitted.timestamp() - 2
        return False

    def _end_of_output(self, path: Path) -> list[Line]:
        rank = _RANK_OF_OUTPUT.search(path.name)
        name = os.path.relpath(path, self.run.path)
        lines = _read(path, name, int(rank[1]) if rank and int(rank[1]) else None)
        starts = [position for position, line in enumerate(lines) if _SUBMITIT_STARTS in line.text]
        return lines[starts[-1] if starts else 0 :][-_MOST_LINES:]


def _read(path: Path, name: str, rank: int | None) -> list[Line]:
    """The lines of a file, or of its start and its end; none if it cannot be read."""
    with suppress(OSError, HpcDlError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
        with open(descriptor, "rb") as file:
            check_regular(path, os.fstat(descriptor))
            size = os.fstat(descriptor).st_size
            if size <= _HEAD_BYTES + _TAIL_BYTES:
                return list(_split(file.read(_HEAD_BYTES + _TAIL_BYTES), name, rank, numbered=True))
            head = list(_split(file.read(_HEAD_BYTES), name, rank, numbered=True))
            file.seek(size - _TAIL_BYTES)
            return [*head[:-1], *list(_split(file.read(_TAIL_BYTES), name, rank, numbered=False))[1:]]
    return []


def _split(content: bytes, name: str, rank: int | None, *, numbered: bool) -> Iterator[Line]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        # As it is on a terminal in the end: a progress bar starts over after each carriage return.
        text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        if text.strip():
            yield Line(name, number if numbered else None, text[:_MOST_CHARACTERS], rank)
