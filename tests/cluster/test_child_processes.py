"""Child processes that end together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.cluster.child_processes import Command, run_together
from tests.child_processes import start_module
from tests.cluster.child_programs import command
from tests.cluster.conftest import wait_until


def launcher(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a process that runs one of the child programs with ``run_together``."""
    return start_module("tests.cluster.child_programs", "launch", *arguments, stdout=subprocess.PIPE, **options)


def test_no_failure_if_all_commands_succeed() -> None:
    assert run_together([command("succeed"), command("succeed")]) is None


def test_one_failure_ends_the_others() -> None:
    started = time.monotonic()
    failure = run_together([command("sleep"), command("fail", 3)])
    assert failure and (failure.index, failure.returncode) == (1, 3)
    assert time.monotonic() - started < 25


def test_child_that_ignores_sigterm_is_killed() -> None:
    started = time.monotonic()
    failure = run_together([command("sleep_without_sigterm"), command("fail", 1, 1)], failure_grace_s=1)
    assert failure and failure.index == 1
    assert time.monotonic() - started < 25


def test_failure_names_the_signal() -> None:
    failure = run_together([command("kill_itself")])
    assert str(failure) == "was killed by SIGKILL (often: out of memory)"


def test_missing_program_leaves_no_child_running() -> None:
    before = set(psutil.Process().children())  # of other tests in this process
    with pytest.raises(FileNotFoundError):
        run_together([command("sleep"), Command(["/no/such/program"], os.environ)])
    new = set(psutil.Process().children()) - before
    assert [child for child in new if child.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_forwarded_once(tmp_path: Path, number: signal.Signals) -> None:
    process = launcher("end_on_signal", int(number), tmp_path / "ready", stderr=subprocess.STDOUT)
    wait_until((tmp_path / "ready").exists, "the child is ready")
    process.send_signal(number)
    assert process.communicate(timeout=300)[0].split() == ["got", str(int(number)), "None"]


def test_only_a_second_ctrl_c_kills_slow_children(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    with messages.open("w") as file:
        process = launcher("survive_signals", tmp_path / "ready", stderr=file)
    wait_until((tmp_path / "ready").exists, "the child is ready")
    expected = ""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        expected += f"got {int(number)}\n"
        wait_until(lambda: len(messages.read_text()) >= len(expected), "the child got the signal")  # noqa: B023
        assert messages.read_text() == expected
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=300)[0] == "interrupted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_die_with_a_killed_launcher(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    process = launcher("die_with_parent", pid_file)
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the child is ready")
    pid = int(pid_file.read_text())
    process.kill()
    process.communicate(timeout=300)
    wait_until(lambda: _has_ended(pid), "the child has ended", 10)


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
