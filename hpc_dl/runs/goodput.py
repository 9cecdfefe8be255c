"""Goodput: the share of the allocated time that advanced the training, and where the rest went.

The idea is that of Google's ML Productivity Goodput (2024): productive time over allocated time,
where work that a kill destroyed is not productive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hpc_dl.errors import HpcDlError
from hpc_dl.runs import attempts, checkpoints
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes, read_phase_times, recorded_ends
from hpc_dl.runs.run_files import read_job, read_provenance, timestamp

#: Where allocated time goes; only ``training`` counts as goodput.
PARTS = ("training", "start_up", "restoring", "checkpoints", "repeated", "data", "validation", "end", "other")

# A killed attempt was active for at most this long after its file was written for the last time.
_UNRECORDED_S = 30.0
_CLOCKS_S = 60.0  # by which the clocks of a node and of the controller may differ
_NOTHING_LOST = ("finished", "pruned")


@dataclass(frozen=True)
class Allocation:
    """The nodes that a job had, from one start to the end or the next requeue, according to Slurm.

    Attributes:
        start: when it started, in seconds since the epoch.
        end: when it ended; ``None`` while it is running.
    """

    start: float
    end: float | None


@dataclass(frozen=True)
class Goodput:
    """Where the allocated time of a run went.

    Attributes:
        allocated_s: the time from each start of the job to its end, in seconds.
        parts: seconds by part, see :data:`PARTS`; together they are the allocated time.
        waits_s: how long the job waited in the queue before each start; empty outside of Slurm.
        starts: the number of attempts.
        lengths_s: how long the allocation of each attempt lasted.
    """

    allocated_s: float
    parts: dict[str, float]
    waits_s: tuple[float, ...]
    starts: int
    lengths_s: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of the allocated time that advanced the training, 0 to 1."""
        return self.parts["training"] / self.allocated_s if self.allocated_s else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data: ``goodput`` is the share."""
        return {
            "goodput": round(self.share, 4),
            "allocated_s": round(self.allocated_s, 1),
            "parts_s": {part: round(seconds, 1) for part, seconds in self.parts.items()},
            "queue_s": round(sum(self.waits_s), 1),
            "waits_s": [round(seconds, 1) for seconds in self.waits_s],
            "starts": self.starts,
        }


def goodput_of(
    run: RunFolder, allocations: Mapping[str, Sequence[Allocation]] | None = None, *, is_running: bool = False
) -> Goodput | None:
    """Return where the allocated time of a run went; ``None`` if it has recorded no times.

    Args:
        run: the run.
        allocations: what Slurm says about its jobs, by the names of the jobs. Without it, an
            allocation ends with the last sign of life of its training.
        is_running: whether its last attempt is running.
    """
    records = read_phase_times(run.usage)
    spans, without_attempt = _spans(run, records, allocations or {})
    if not spans:
        return None
    parts = dict.fromkeys(PARTS, 0.0)
    for number, (span, end) in enumerate(zip(spans, recorded_ends(run, records), strict=True)):
        is_last = number == len(spans) - 1
        seconds = span.seconds(was_killed=end is None and not (is_last and is_running))
        lost: dict[str, float] = {}
        if not (is_last and is_running) and not (end and end.get("state") in _NOTHING_LOST):
            later = (after.times.from_step for after in spans[number + 1 :])
            resumed_at = next((step for step in later if step is not None), None)
            lost = _lost(span.times, seconds, _newest_step(run) if resumed_at is None else resumed_at)
        for phase in PHASES:
            parts[phase] += seconds[phase] - lost.get(phase, 0.0)
        parts["repeated"] += sum(lost.values())
    parts["start_up"] += sum(without_attempt)
    allocated_s = sum(span.end - span.start for span in spans) + sum(without_attempt)
    parts["other"] += allocated_s - sum(parts.values())
    starts = len(spans) + len(without_attempt)
    return Goodput(allocated_s, parts, _waits(run, spans), starts, tuple(span.end - span.start for span in spans))


@dataclass(frozen=True)
class _Span:
    """The allocated time of one attempt."""

    times: PhaseTimes
    start: float
    end: float

    def seconds(self, *, was_killed: bool) -> dict[str, float]:
        """The time by phase, with what came before the first and after the last record."""
        seconds = dict(self.times.seconds)
        seconds["start_up"] += self.times.started - self.start
        after = self.end - self.times.time
        if was_killed:
            seconds[self.times.phase] += min(after, _UNRECORDED_S)
            after -= min(after, _UNRECORDED_S)
        seconds["end"] += after
        return seconds


def _spans(
    run: RunFolder, records: Sequence[PhaseTimes], allocations: Mapping[str, Sequence[Allocation]]
) -> tuple[list[_Span], list[float]]:
    """The allocated time of each attempt, and that of jobs which ended before an attempt began."""
    is_own = _has_own_job(run)
    chosen = [_allocation(times, allocations) if is_own else None for times in records]
    spans: list[_Span] = []
    for number, (times, allocation) in enumerate(zip(records, chosen, strict=True)):
        start, end = times.started, times.time
        if is_own and times.allocated is not None:
            start = min(start, times.allocated)
        if allocation is not None:
            start = min(start, allocation.start)
            is_last_of_it = number + 1 == len(records) or chosen[number + 1] is not allocation
            end = max(end, allocation.end or end) if is_last_of_it else end
        if spans:
            start = min(times.started, max(start, spans[-1].end))
        spans.append(_Span(times, start, end))
    unused = [one for job in {times.job for times in records} for one in allocations.get(job, ()) if one not in chosen]
    return spans, [one.end - one.start for one in unused if is_own and one.end is not None]


def _has_own_job(run: RunFolder) -> bool:
    """Whether the run has an allocation for itself, as a member of a task of a sweep does not."""
    with suppress(HpcDlError, OSError):
        job = read_job(run)
        return "job_id" in job and not job.get("members")
    return False


def _allocation(times: PhaseTimes, allocations: Mapping[str, Sequence[Allocation]]) -> Allocation | None:
    """The allocation in which an attempt ran."""
    fitting = [
        one
        for one in allocations.get(times.job, ())
        if one.start - _CLOCKS_S <= times.started and (one.end is None or times.started <= one.end + _CLOCKS_S)
    ]
    return max(fitting, key=lambda one: one.start, default=None)


def _lost(times: PhaseTimes, seconds: Mapping[str, float], resumed_at: int) -> dict[str, float]:
    """The time of the steps after the checkpoint from which the run resumes."""
    kept = max((saved for saved in times.saved if saved[0] <= resumed_at), default=(0, 0.0, 0.0))
    return {phase: max(0.0, seconds[phase] - until) for phase, until in zip(PHASES[:2], kept[1:], strict=True)}


def _newest_step(run: RunFolder) -> int:
    saved = checkpoints.listed(run.checkpoints, "step")
    return saved[-1].step if saved else 0


def _waits(run: RunFolder, spans: Sequence[_Span]) -> tuple[float, ...]:
    """How long the run waited before each start: from its submission, or from the end before."""
    if not _has_own_job(run):
        return ()
    resumed = [timestamp(event.get("time")) for event in attempts.history(run) if event["event"] == "resumed"]
    known = [_first_submission(run), *resumed]
    waits = []
    for before, span in zip([None, *spans], spans, strict=False):
        ready = [moment for moment in known if moment is not None and moment <= span.start + _CLOCKS_S]
        ready += [before.end] if before else []
        if ready:
            waits.append(max(0.0, span.start - max(ready)))
    return tuple(waits)


def _first_submission(run: RunFolder) -> float | None:
    with suppress(HpcDlError, OSError):
        return timestamp(read_provenance(run).get("time"))
    return None
