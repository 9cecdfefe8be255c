"""Processes of this machine: inspect, signal and run them, and wait for them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

#: The search path of every program that the cluster runs.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def boot_id() -> str:
    """The id of this boot of the machine; process ids recorded under another one are void."""
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """The start of a process in clock ticks since boot; None if it has ended (zombies included)."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def program(pid: int) -> str | None:
    """The path of the program that a process runs; None if it has ended or may not be read."""
    try:
        # Linux appends " (deleted)" after an upgrade of the package replaced the file.
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return None


def environment(pid: int) -> list[str]:
    """The initial environment of a process as NAME=VALUE; empty if it cannot be read."""
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def parent(pid: int) -> int:
    """The process id of the parent; 0 if the process has ended."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def has_our_root(pid: int) -> bool:
    """Whether the process has our root folder, which one in another container has not."""
    try:
        return os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return False


def send_signal(pid: int, signum: signal.Signals) -> None:
    """Send a signal; do nothing if the process has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def wait_until(condition: Callable[[], object], timeout_s: float, every_s: float = 0.1) -> bool:
    """Poll until `condition()` is true; return False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def run(argv: list[str], env: dict[str, str], timeout_s: float = 15) -> subprocess.CompletedProcess[str]:
    """Run a program and capture its output; status 124 if it exceeds the timeout."""
    try:
        return subprocess.run(
            argv, env=env, timeout=timeout_s, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"{argv[0]} did not respond within {timeout_s:g} s")
