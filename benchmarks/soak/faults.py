"""The kinds of faults: what each does to an attempt, and how many steps it may cost."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.soak.attempts import Attempt
from benchmarks.soak.runs import SAVE_EVERY, has_several_ranks
from hpc_dl.runs import checkpoints
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state

# Bytes. With the first nothing can be written; with the second journal and state still fit, but no
# checkpoint.
FILE_SIZE_LIMITS = (0, 64 * 1024)
MOMENTS = ("start", "step", "time", "save", "validation", "test")


@dataclass(frozen=True)
class PlannedFault:
    """One fault of a run, with everything random about it.

    Attributes:
        fault: its kind, a key of ``FAULTS``.
        moment: one of ``MOMENTS``.
        where: position of the moment, 0 to 1: a share of the remaining steps or seconds.
        delay_s: seconds after that moment.
        target: the process that is hit or the byte that is damaged, 0 to 1.
        second_s: seconds until the fault's second part, if it has one.
        cold: whether the attempt is started as a new program.
    """

    fault: str
    moment: str
    where: float
    delay_s: float
    target: float
    second_s: float
    cold: bool


Apply = Callable[[Attempt, PlannedFault], None]


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        apply: causes it.
        graceful: it asks the run to stop, which must then save and lose no step.
        ends: whether it ends the attempt.
        damaged_checkpoints: each may cost another interval. ``None``: no bound is promised, because
            nothing can be saved.
        needs_ranks: it needs several ranks.
        moments: those at which it makes sense; all if empty.
    """

    apply: Apply
    graceful: bool = False
    ends: bool = True
    damaged_checkpoints: int | None = 0
    needs_ranks: bool = False
    moments: tuple[str, ...] = ()


def promised_steps(fault: FaultKind, configuration: str) -> int | None:
    """The largest number of steps that a fault may cost; ``None`` if there is no bound."""
    if fault.graceful:
        return 0
    if fault.damaged_checkpoints is None:
        return None
    # Several ranks agree on a checkpoint one batch after it is due.
    return (SAVE_EVERY + has_several_ranks(configuration)) * (1 + fault.damaged_checkpoints)


# --- signals ------------------------------------------------------------------------------------


def _send_signals(*numbers: int) -> Apply:
    """Return a fault that signals the launcher, every rank, or one of them."""

    def apply(attempt: Attempt, plan: PlannedFault) -> None:
        ranks = [rank.pid for rank in attempt.ranks()]
        receivers = [attempt.pid]
        if ranks and plan.target > 0.4:
            receivers = ranks if plan.target < 0.7 else [ranks[int(1000 * plan.target) % len(ranks)]]
        for index, number in enumerate(numbers):
            if index:
                time.sleep(plan.second_s / 20)
            for pid in receivers:
                if attempt.is_running():
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    return apply


def _kill_one_rank(attempt: Attempt, plan: PlannedFault) -> None:
    if ranks := attempt.ranks():
        _kill(ranks[int(plan.target * len(ranks))])


def _kill_launcher(attempt: Attempt, plan: PlannedFault) -> None:
    _kill(psutil.Process(attempt.pid))


def _kill_all(attempt: Attempt, plan: PlannedFault) -> None:
    attempt.kill()


def _suspend(attempt: Attempt, plan: PlannedFault) -> None:
    suspended = attempt.processes() if plan.target < 0.5 else attempt.ranks()[-1:]
    _signal_all(suspended, signal.SIGSTOP)
    time.sleep(1.0)
    _signal_all(suspended, signal.SIGCONT)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def _signal_all(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


# --- files --------------------------------------------------------------------------------------


def _truncate(attempt: Attempt, plan: PlannedFault) -> None:
    attempt.kill()
    if path := _newest_checkpoint(attempt.run):
        os.truncate(path, int(plan.target * path.stat().st_size))


def _flip_bit(attempt: Attempt, plan: PlannedFault) -> None:
    attempt.kill()
    if path := _newest_checkpoint(attempt.run):
        with path.open("r+b") as file:
            file.seek(int(plan.target * path.stat().st_size))
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ (1 << int(plan.where * 8))]))


def _newest_checkpoint(run: RunFolder) -> Path | None:
    """The checkpoint from which the next attempt resumes; ``None`` if there will be none."""
    if read_state(run)["state"] == "finished":
        return None
    paths = [checkpoint.path for checkpoint in checkpoints.listed(run.checkpoints, "step")]
    return paths[-1] if paths else None


def _fill_disk(attempt: Attempt, plan: PlannedFault) -> None:
    _limit_file_size(attempt, FILE_SIZE_LIMITS[plan.target > 0.5])


def _fill_disk_for_a_while(attempt: Attempt, plan: PlannedFault) -> None:
    _limit_file_size(attempt, FILE_SIZE_LIMITS[1])
    time.sleep(plan.second_s)
    _limit_file_size(attempt, resource.RLIM_INFINITY)


def _limit_file_size(attempt: Attempt, size: int) -> None:
    """Limit the size of the processes' files: like a full disk, but needs no root."""
    for process in {psutil.Process(attempt.pid), *attempt.ranks()} if attempt.is_running() else ():
        with suppress(ProcessLookupError):
            _, hard_limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard_limit))


_DAMAGE_MOMENTS = ("step", "validation", "test")
FAULTS: dict[str, FaultKind] = {
    "SIGUSR2": FaultKind(_send_signals(signal.SIGUSR2), graceful=True),
    "SIGUSR1": FaultKind(_send_signals(signal.SIGUSR1), graceful=True),
    "SIGTERM": FaultKind(_send_signals(signal.SIGTERM), graceful=True),
    "SIGINT": FaultKind(_send_signals(signal.SIGINT), graceful=True),
    "SIGTERM twice": FaultKind(_send_signals(signal.SIGTERM, signal.SIGTERM), graceful=True),
    "SIGUSR2, then SIGTERM": FaultKind(_send_signals(signal.SIGUSR2, signal.SIGTERM), graceful=True),
    "SIGKILL of one rank": FaultKind(_kill_one_rank),
    "SIGKILL of all processes": FaultKind(_kill_all),
    "SIGKILL while saving": FaultKind(_kill_all, moments=("save",)),
    "SIGKILL of the launcher": FaultKind(_kill_launcher, needs_ranks=True),
    "newest checkpoint truncated": FaultKind(_truncate, damaged_checkpoints=1, moments=_DAMAGE_MOMENTS),
    "one bit of it flipped": FaultKind(_flip_bit, damaged_checkpoints=1, moments=_DAMAGE_MOMENTS),
    "SIGSTOP, SIGCONT": FaultKind(_suspend, ends=False),
    "disk full": FaultKind(_fill_disk, damaged_checkpoints=None, moments=("start", "step", "save", "validation")),
    "disk full for a while": FaultKind(
        _fill_disk_for_a_while, ends=False, damaged_checkpoints=None, moments=("step", "save")
    ),
}
