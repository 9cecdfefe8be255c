"""Children that live and die together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hpc_dl.cluster.processes import LAUNCHER_PID, Command, run_together
from tests.cluster.conftest import wait_until
from tests.conftest import PROJECT


def python(text: str) -> Command:
    return Command([sys.executable, "-c", text], os.environ | {"PYTHONPATH": str(PROJECT)})


def test_success_of_all() -> None:
    assert run_together([python(""), python("")]) is None


def test_one_failure_ends_the_others_promptly() -> None:
    began = time.monotonic()
    failure = run_together([python("import time; time.sleep(60)"), python("raise SystemExit(3)")])
    assert failure and (failure.index, failure.returncode) == (1, 3)
    assert time.monotonic() - began < 5


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()
    failure = run_together([python(deaf), python("import time; time.sleep(1); 1/0")], failure_grace_s=1)
    assert failure and failure.index == 1
    assert time.monotonic() - began < 10


def test_death_by_signal_is_told_by_name() -> None:
    failure = run_together([python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")])
    assert str(failure) == "was killed by SIGKILL (often: out of memory)"


def test_a_program_that_is_not_there_leaves_nothing_running() -> None:
    with pytest.raises(FileNotFoundError):
        run_together([python("import time; time.sleep(60)"), Command(["/no/such/program"], os.environ)])
    assert [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_passed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    child = (
        "import signal, sys, time, pathlib\n"
        f"signal.signal({int(number)}, lambda n, f: (print('got', n, flush=True), sys.exit(0)))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(60)"
    )
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; from hpc_dl.cluster.processes import *;"
            f"print(run_together([Command([sys.executable, '-c', {child!r}], os.environ)]))",
        ],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until((tmp_path / "ready").exists, "the child is ready")
    launcher.send_signal(number)
    assert launcher.communicate(timeout=20)[0].split() == ["got", str(int(number)), "None"]


def test_only_a_second_ctrl_c_ends_children_that_take_their_time(tmp_path: Path) -> None:
    child = (
        "import signal, sys, time, pathlib\n"
        "for n in (2, 15): signal.signal(n, lambda n, f: print('got', n, flush=True))\n"
        f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\nwhile True: time.sleep(60)"
    )
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; from hpc_dl.cluster.processes import *\n"
            f"try: run_together([Command([sys.executable, '-c', {child!r}], os.environ)])\n"
            "except KeyboardInterrupt: print('interrupted')",
        ],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "ready").exists, "the child is ready")
    assert launcher.stderr
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        launcher.send_signal(number)
        assert launcher.stderr.readline() == f"got {int(number)}\n"
    launcher.send_signal(signal.SIGINT)
    assert launcher.communicate(timeout=20)[0] == "interrupted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end children with their parent")
def test_children_die_with_a_killed_launcher(tmp_path: Path) -> None:
    child = (
        "import time, pathlib, os; from hpc_dl.cluster.processes import die_with_launcher; die_with_launcher();"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    launcher = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys; from hpc_dl.cluster.processes import *;"
            f"run_together([Command([sys.executable, '-c', {child!r}],"
            f" os.environ | {{{LAUNCHER_PID!r}: str(os.getpid())}})])",
        ],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the child is ready")
    pid = int((tmp_path / "pid").read_text())
    launcher.kill()
    launcher.wait(10)
    wait_until(lambda: _gone(pid), "the child is gone", 10)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
