"""Child processes that live and die together: one failure ends all, none outlives its launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

LAUNCHER_PID = "HPC_DL_LAUNCHER_PID"
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Command:
    """One child process to start.

    Attributes:
        argv: program and arguments; no shell is involved.
        environment: its whole environment.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Failure:
    """The child that failed first: the cause of the others' end.

    Attributes:
        index: its place among the commands.
        returncode: exit status, or minus the number of the signal that killed it.
    """

    index: int
    returncode: int

    @property
    def status(self) -> int:
        """Exit status as a shell would tell it: 128 and the number of a killing signal."""
        return self.returncode if self.returncode >= 0 else 128 - self.returncode

    def __str__(self) -> str:
        if self.returncode >= 0:
            return f"ended with status {self.returncode}"
        name = signal.Signals(-self.returncode).name
        return f"was killed by {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")


def run_together(
    commands: Sequence[Command], *, failure_grace_s: float = 5.0, stop_grace_s: float = 60.0
) -> Failure | None:
    """Run all commands at once, wait for all, and leave none behind. To be called in the main
    thread.

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 are passed on to the children; a second SIGINT (Ctrl-C)
    kills them at once. A second SIGTERM does not: Slurm sends one to every process of a job, and
    another when its patience ends.

    Args:
        commands: what to run; each child is the leader of its own process group, so that a Ctrl-C
            of the terminal reaches it once, through here.
        failure_grace_s: seconds between SIGTERM and SIGKILL for the others when one fails.
        stop_grace_s: seconds between a forwarded SIGTERM or SIGINT and SIGKILL.

    Returns:
        The first failure, or ``None`` when all ended with status 0.

    Raises:
        KeyboardInterrupt: a second SIGINT came, and all children are gone.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in _FORWARDED}
    children: list[subprocess.Popen[bytes]] = []
    failure: Failure | None = None
    kill_at = float("inf")
    interrupted = False
    try:
        for command in commands:
            # What a rank prints is for people (2 is stderr); stdout belongs to the launcher's
            # answer (--json).
            children.append(subprocess.Popen(command.argv, env=command.environment, stdout=2, process_group=0))
        while alive := [child for child in children if child.poll() is None]:
            while received:
                number = received.pop(0)
                if number == signal.SIGINT and interrupted:
                    raise KeyboardInterrupt
                _send(alive, number)
                interrupted = interrupted or number == signal.SIGINT
                if number in (signal.SIGTERM, signal.SIGINT):
                    kill_at = min(kill_at, time.monotonic() + stop_grace_s)
            failure = failure or _first_failure(children)
            if failure and kill_at == float("inf"):
                _send(alive, signal.SIGTERM)
                kill_at = time.monotonic() + failure_grace_s
            if time.monotonic() >= kill_at:
                _kill_groups(alive)
            time.sleep(_POLL_S)
    finally:
        _kill_groups([child for child in children if child.poll() is None])
        for child in children:
            child.wait()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    return failure or _first_failure(children)


def die_with_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Ask Linux to kill this process when its launcher is gone, however that died; elsewhere
    nothing happens.

    Called by the child itself: code between fork and exec is not safe in a launcher that has
    threads.
    """
    launcher = environment.get(LAUNCHER_PID)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(launcher):  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def _first_failure(children: Sequence[subprocess.Popen[bytes]]) -> Failure | None:
    """Of children found dead at the same look, one killed by a signal is the cause: the others saw
    it vanish.
    """
    ended = [Failure(i, child.returncode) for i, child in enumerate(children) if child.returncode]
    return min(ended, key=lambda failure: (failure.returncode > 0, failure.index), default=None)


def _send(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        child.send_signal(number)


def _kill_groups(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill children that have not been waited for, with what they started (data loading workers)."""
    for child in children:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            child.kill()
