"""Child processes that end together: when one fails or the launcher dies, all are ended."""

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
_CAUSES = {"SIGKILL": "out of memory", "SIGBUS": "a file was shortened, or a disk failed, while it was being read"}
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Command:
    """The command of a child process.

    Attributes:
        argv: program and arguments, without a shell.
        environment: all environment variables.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Failure:
    """The child that failed first, which caused the others to be ended.

    Attributes:
        index: its index in the list of commands.
        returncode: exit status, or minus the number of the signal that killed it.
    """

    index: int
    returncode: int

    @property
    def status(self) -> int:
        """The exit status as in a shell: 128 plus the signal number for a killed process."""
        return self.returncode if self.returncode >= 0 else 128 - self.returncode

    @property
    def crashed(self) -> bool:
        """Whether it was a fault in compiled code, of which ``faulthandler`` writes the stack."""
        return -self.returncode in _CRASHES

    def __str__(self) -> str:
        if self.returncode >= 0:
            return f"ended with status {self.returncode}"
        name = signal.Signals(-self.returncode).name
        if self.crashed:
            return f"crashed ({name})"
        cause = _CAUSES.get(name)
        return f"was killed by {name}" + (f" (often: {cause})" if cause else "")


def run_together(
    commands: Sequence[Command], *, failure_grace_s: float = 5.0, stop_grace_s: float = 60.0
) -> Failure | None:
    """Run all commands in parallel until all have ended. Must be called in the main thread.

    SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 are forwarded to the children. A second SIGINT (Ctrl-C)
    kills them immediately, but a second SIGTERM does not, because Slurm sends SIGTERM repeatedly.

    Args:
        commands: the commands. Each child leads its own process group, so that a Ctrl-C in the
            terminal reaches it only once, through this function.
        failure_grace_s: when one fails, seconds between SIGTERM and SIGKILL for the others.
        stop_grace_s: seconds between a forwarded SIGTERM or SIGINT and SIGKILL.

    Returns:
        The first failure, or ``None`` if all ended with status 0.

    Raises:
        KeyboardInterrupt: a second SIGINT was received; all children have ended.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous_handlers = {number: signal.signal(number, remember) for number in _FORWARDED}
    children: list[subprocess.Popen[bytes]] = []
    failure: Failure | None = None
    kill_at = float("inf")
    interrupted = False
    try:
        for command in commands:
            # stdout=2 (stderr): our own stdout is reserved for the launcher's result (--json).
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
        for number, handler in previous_handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    return failure or _first_failure(children)


def die_with_launcher(environment: Mapping[str, str] = os.environ) -> None:
    """Have Linux kill this process when its launcher ends for any reason; no-op on other systems.

    The child calls it itself, since running code between fork and exec is unsafe in a launcher
    with threads.
    """
    launcher = environment.get(LAUNCHER_PID)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(launcher):  # the launcher ended before the prctl call
        os.kill(os.getpid(), signal.SIGKILL)


def _first_failure(children: Sequence[subprocess.Popen[bytes]]) -> Failure | None:
    """The first failure among the ended children.

    If several ended since the last poll, one that was killed by a signal is the cause: the others
    failed because they lost it.
    """
    ended = [Failure(i, child.returncode) for i, child in enumerate(children) if child.returncode]
    return min(ended, key=lambda failure: (failure.returncode > 0, failure.index), default=None)


def _send(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        child.send_signal(number)


def _kill_groups(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill children that are still running, including the data loading workers they started."""
    for child in children:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            child.kill()
