"""Signals that ask a training to stop. They only leave word; the training looks at it between two
batches.

Nothing else may happen in a handler: it runs at any moment, in the middle of an optimizer step or
of a write. Imports no torch, so that the handlers are in place seconds before a training can begin.
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

Cause = Literal["limit", "term", "interrupt"]

# Slurm warns ahead of the time limit with the signal that --signal names: USR2 is submitit's, USR1
# Lightning's choice.
_CAUSES: dict[int, Cause] = {
    signal.SIGUSR1: "limit",
    signal.SIGUSR2: "limit",
    signal.SIGTERM: "term",
    signal.SIGINT: "interrupt",
}


@dataclass
class StopRequest:
    """Why this process was asked to stop, and when.

    Attributes:
        cause: ``limit``: the time limit is near; ``term``: cancelled, preempted, or the node shuts
            down; ``interrupt``: Ctrl-C.
        signal_name: the signal, for people.
        time: when it came, as ``time.monotonic()``.
    """

    cause: Cause
    signal_name: str
    time: float


_request: StopRequest | None = None
_owner: int | None = None
_last_words: Callable[[], None]


def install(last_words: Callable[[], None] = lambda: None) -> None:
    """Begin to take note of USR1, USR2, TERM and INT in this process; forked loader workers do not.

    A second call keeps what was noted since the first.

    Args:
        last_words: called before the process leaves at once, because of a second Ctrl-C.
    """
    global _owner, _request, _last_words
    if _owner != os.getpid():
        _owner, _request = os.getpid(), None
    _last_words = last_words
    for number in _CAUSES:
        signal.signal(number, _note)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # Slurm sends it along with TERM; submitit had it ignored


def requested() -> StopRequest | None:
    """What this process was asked for, or ``None``."""
    return _request


def answered() -> None:
    """Forget the request: the training that it was meant for has left."""
    global _request
    _request = None


def request(cause: Cause, name: str) -> None:
    """Ask this process to stop, without a signal."""
    global _request
    # A cancel that follows the warning of the time limit is the last word: it must not be requeued.
    if _request is None or (_request.cause == "limit" and cause != "limit"):
        _request = StopRequest(cause, name, time.monotonic())


def _note(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _owner:  # a forked child that has not installed its own handlers yet
        return
    if number == signal.SIGINT and _request is not None and _request.signal_name == "SIGINT":
        sys.stderr.write("\nLeaving at once; `hpc-dl resume` goes on from the newest checkpoint.\n")
        sys.stderr.flush()
        with contextlib.suppress(Exception):
            _last_words()
        os._exit(130)
    if number == signal.SIGINT and _request is None:
        os.write(2, b"\nStopping after the running step, with a checkpoint. Ctrl-C again leaves at once.\n")
    request(_CAUSES[number], signal.Signals(number).name)
