"""Programs for the tests of child processes: ``python -m tests.cluster.child_programs NAME …``."""

import os
import signal
import sys
import time
from pathlib import Path

from hpc_dl.cluster.child_processes import LAUNCHER_PID, Command, die_with_launcher, run_together

PROJECT = Path(__file__).parent.parent.parent


def command(name: str, *arguments: object) -> Command:
    """The command that runs one of these programs."""
    argv = [sys.executable, "-m", "tests.cluster.child_programs", name, *map(str, arguments)]
    return Command(argv, os.environ | {"PYTHONPATH": str(PROJECT)})


def succeed() -> None:
    pass


def sleep() -> None:
    time.sleep(60)


def sleep_without_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def fail(status: str, delay_s: str = "0") -> None:
    time.sleep(float(delay_s))
    raise SystemExit(int(status))


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_on_signal(number: str, ready: str) -> None:
    """Create the file ``ready``, print the signal, and end."""

    def handle(received: int, frame: object) -> None:
        print("got", received, file=sys.stderr, flush=True)
        sys.exit(0)

    signal.signal(int(number), handle)
    Path(ready).touch()
    time.sleep(60)


def survive_signals(ready: str) -> None:
    """Create the file ``ready``, print every SIGINT and SIGTERM, and continue."""

    def handle(received: int, frame: object) -> None:
        print("got", received, file=sys.stderr, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    Path(ready).touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(1)


def die_with_parent(pid_file: str) -> None:
    die_with_launcher()
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(60)


def launch(name: str, *arguments: str) -> None:
    """Run one of these programs with ``run_together``, and print the result."""
    child = command(name, *arguments)
    environment = {**child.environment, LAUNCHER_PID: str(os.getpid())}
    try:
        print(run_together([Command(child.argv, environment)]), flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
