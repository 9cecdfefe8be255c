"""Cases in child processes that may hang, crash, or take too much memory.

A worker is a fork of this process, in which everything is imported already, and handles many cases.
When it dies, the next one continues after the case that killed it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

_MEMORY_BYTES = 3 << 30  # beyond what this process has mapped already
_CASES_PER_WORKER = 50


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        case: its number.
        kind: ``fine``, ``refused`` (by one line), or a failure: ``traceback``, ``wrong``, ``hang``,
            ``crash``.
        detail: the message.
    """

    case: int
    kind: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is a defect."""
        return self.kind not in ("fine", "refused")


class Hang(BaseException):
    """A case took too long; not an Exception, so that nothing handles it."""


def run_cases(cases: range, check: Callable[[int], tuple[str, str]], *, limit_s: float = 20.0) -> Iterator[Outcome]:
    """Run cases in workers.

    Args:
        cases: their numbers.
        check: returns kind and detail of a case; an exception is a failure.
        limit_s: seconds after which a case counts as hanging.
    """
    remaining = list(cases)
    while remaining:
        for outcome in _work(remaining[:_CASES_PER_WORKER], check, limit_s):
            remaining.remove(outcome.case)
            yield outcome


def _work(cases: list[int], check: Callable[[int], tuple[str, str]], limit_s: float) -> Iterator[Outcome]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if (pid := os.fork()) == 0:
        os.close(reading)
        _child(cases, check, limit_s, writing)
    os.close(writing)
    done = 0
    with os.fdopen(reading) as lines:
        for line in lines:
            yield Outcome(*json.loads(line))
            done += 1
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status and done < len(cases):
        killed_by_alarm = status == -signal.SIGALRM  # our handler does not run inside of a C function
        yield Outcome(cases[done], "hang" if killed_by_alarm else "crash", f"exit status {status}")


def _child(cases: list[int], check: Callable[[int], tuple[str, str]], limit_s: float, writing: int) -> NoReturn:
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY_BYTES, mapped + _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        for case in cases:
            signal.signal(signal.SIGALRM, _interrupt)
            # The second alarm kills: the first may be unheard inside of a C function.
            signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)
            try:
                kind, detail = check(case)
            except Hang:
                kind, detail = "hang", _last_frames()
            except BaseException as error:
                kind, detail = "traceback", f"{type(error).__name__}: {str(error)[:200]} at {_last_frames()}"
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.write(writing, json.dumps([case, kind, detail]).encode() + b"\n")
        os._exit(0)
    finally:
        os._exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    raise Hang


def _last_frames() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])[-8:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
