"""Requests to stop a training: signals, the Stop button in W&B, and the sweep of a run that lags.

A handler may run at any moment, in the middle of an optimizer step or of a write. So it only
records the request, which the training checks between two batches. Imports no torch, so that the
handlers are installed seconds before a training can start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Literal

Cause = Literal["limit", "term", "interrupt", "pruned", "wandb"]

# Slurm warns ahead of the time limit with the signal that --signal names: submitit chooses USR2,
# Lightning USR1.
_CAUSES: dict[int, Cause] = {
    signal.SIGUSR1: "limit",
    signal.SIGUSR2: "limit",
    signal.SIGTERM: "term",
    signal.SIGINT: "interrupt",
}
# Which earlier causes a request replaces. What people want comes first, or a job that was to stop
# would be requeued. Ctrl-C replaces the Stop button, since a second Ctrl-C must end the process.
_REPLACED: dict[Cause, set[Cause | None]] = {
    "limit": {None},
    "term": {None, "limit"},
    "pruned": {None, "limit", "term"},
    "wandb": {None, "limit", "term", "pruned"},
    "interrupt": {None, "limit", "pruned", "wandb"},
}


@dataclass
class StopRequest:
    """Why this process was requested to stop, and when.

    Attributes:
        cause: ``limit``: the time limit is near; ``term``: cancelled, preempted, or the node shuts
            down; ``interrupt``: Ctrl-C; ``pruned``: it lags behind other runs of its sweep;
            ``wandb``: the Stop button in W&B.
        signal_name: the signal, or what else requested it, as text.
        time: when it arrived, as ``time.monotonic()``.
    """

    cause: Cause
    signal_name: str
    time: float


class TrainingStopped(Exception):
    """The training has stopped between two batches, with a checkpoint.

    It is raised on all ranks at the same point.

    Attributes:
        cause: why; the most urgent cause of all ranks.
        step: optimizer steps done.
    """

    def __init__(self, cause: Cause, step: int) -> None:
        super().__init__(f"stopped at step {step}: {cause}")
        self.cause = cause
        self.step = step


_request: StopRequest | None = None
_owner: int | None = None
_epilogue: Callable[[], None]


def install(epilogue: Callable[[], None] = lambda: None) -> None:
    """Record USR1, USR2, TERM and INT in this process from now on; not in forked loader workers.

    A second call keeps the request that was recorded since the first.

    Args:
        epilogue: called before the process exits at once, because of a second Ctrl-C.
    """
    global _owner, _request, _epilogue
    if _owner != os.getpid():
        _owner, _request = os.getpid(), None
    _epilogue = epilogue
    for number in _CAUSES:
        signal.signal(number, _record)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # Slurm sends it along with TERM; submitit makes it ignored


def requested() -> StopRequest | None:
    """The stop request of this process, or ``None``."""
    return _request


def clear_request() -> None:
    """Forget the request: the training that it was meant for has stopped."""
    global _request
    _request = None


def request(cause: Cause, name: str) -> None:
    """Request this process to stop, without a signal."""
    global _request
    if (_request.cause if _request else None) in _REPLACED[cause]:
        _request = StopRequest(cause, name, time.monotonic())


def _record(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _owner:  # a forked child that has not installed its own handlers yet
        return
    if number == signal.SIGINT and _request is not None and _request.signal_name == "SIGINT":
        sys.stderr.write("\nStopping at once; `hpc-dl resume` continues from the newest checkpoint.\n")
        sys.stderr.flush()
        with contextlib.suppress(Exception):
            _epilogue()
        os._exit(130)
    if number == signal.SIGINT and (_request is None or _request.cause in ("pruned", "wandb")):
        os.write(2, b"\nStopping after the running step, with a checkpoint. Press Ctrl-C again to stop at once.\n")
    request(_CAUSES[number], signal.Signals(number).name)
