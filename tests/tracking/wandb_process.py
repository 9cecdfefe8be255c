"""A process that reports to W&B, its result, and signals and waits that steer it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from hpc_dl.tracking.journal import read_journal

from .fake_wandb import FakeWandb

KEY = "5ec3e7" + "0123456789" * 3 + "abcd"
RUN_ID = "abc123"
LIMIT_S = 45
"""Far above our own limits on a busy machine, far below wandb's (90 s to start, hours to end)."""
UNREACHABLE = "http://127.0.0.1:9"
"""The discard port, on which nothing listens."""


@dataclass
class Report:
    """Result of a reporting process.

    Attributes:
        folder: the run folder.
        home: the user's home folder.
        process: exit status and output.
    """

    folder: Path
    home: Path
    process: subprocess.CompletedProcess[str]

    @property
    def outcome(self) -> dict[str, Any]:
        """The last line of stderr, as written by reporting_process.py."""
        return json.loads(self.process.stderr.splitlines()[-1])

    @property
    def messages(self) -> list[str]:
        """The messages for the user."""
        return self.outcome["messages"]

    def check(self) -> None:
        """Check what holds in all modes: no error, no output, no file in $HOME, no stored key."""
        assert self.process.returncode == 0, self.process.stderr
        assert self.process.stdout == ""
        assert len(self.process.stderr.splitlines()) == 1, self.process.stderr
        assert [path for path in self.home.rglob("*") if path.is_file()] == []
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert [path for path in files if KEY.encode() in path.read_bytes()] == []
        assert all(KEY not in message for message in self.messages)

    def offline_rows(self) -> list[dict[str, Any]]:
        """Read the rows of the recording that the upload command names, with wandb's own reader."""
        (message,) = (message for message in self.messages if "wandb sync" in message)
        folder = Path(message.split()[-1])
        assert folder.parent == self.folder / "wandb"
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [record["history"] for record in map(json.loads, lines) if record["type"] == "history"]

    def sync(self, server: FakeWandb) -> None:
        """Run the upload command of the last message."""
        _, command = self.messages[-1].split("network: ")
        login_node = self.folder.with_name("home-of-the-login-node")
        environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "HOME": str(login_node)}
        environment["WANDB_ERROR_REPORTING"] = "false"
        command = command.replace("wandb sync", shlex.join([sys.executable, "-m", "wandb", "sync"]))
        subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60, env=environment)

    def check_one_history(self, server: FakeWandb, num_steps: int = 30) -> None:
        """Check that W&B has the journal's rows: each step once, in order, with all values."""
        journal = [{name: row[name] for name in row if name != "time"} for row in read_journal(self.folder / "journal")]
        assert [row["step"] for row in journal] == list(range(num_steps))
        assert [row["step"] for row in journal if "val/loss" in row] == list(range(4, num_steps, 5))
        rows = server.rows[RUN_ID]
        assert [row["_step"] for row in rows] == [row["trainer/global_step"] for row in rows]
        times = [row["_timestamp"] for row in rows]
        assert times == sorted(times)
        added_by_wandb = {"_step", "_timestamp", "_runtime", "trainer/global_step"}
        metrics = [
            {"step": row["_step"], **{name: row[name] for name in row if name not in added_by_wandb}} for row in rows
        ]
        assert metrics == journal


Action = Callable[[psutil.Process], None]


def run_reporting_process(
    folder: Path, url: str, mode: str, actions: dict[int, Action], task: dict[str, Any]
) -> Report:
    """Run reporting_process.py.

    Args:
        folder: gets the run folder and the home folder.
        url: the server.
        mode: ``wandb.mode``.
        actions: by step, what to do with the process before it logs that step.
        task: the task; see reporting_process.py.
    """
    run, home = folder / "run", folder / "home"
    run.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    config = {"mode": mode, "group": "seeds", "tags": ["a", "b"]}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "HOME": str(home), "NO_PROXY": "127.0.0.1"}
    environment["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "0.2"  # the default is 15 s
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("reporting_process.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdin is not None
        task = {"config": config, "folder": str(run), "num_rows": 20, "pauses_at": list(actions), **task}
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        process.stdin = None  # communicate() would flush it
        for step, action in actions.items():
            pause = run / f"pause-{step}"
            wait(lambda pause=pause: pause.exists() or process.poll() is not None, 60)
            assert process.poll() is None, process.communicate()
            action(psutil.Process(process.pid))
            pause.unlink()
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            signal_all(psutil.Process(process.pid), signal.SIGKILL)
    return Report(run, home, subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr))


def wait(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.02)


def signal_all(process: psutil.Process, number: int) -> None:
    """Send a signal to all processes, as Slurm does; wait until those of wandb have ended."""
    children = process.children(recursive=True)
    for receiver in [*children, process]:
        receiver.send_signal(number)
    wait(lambda: not any(is_running(child) for child in children))


def kill(process: psutil.Process) -> None:
    """Kill a process and its children."""
    signal_all(process, signal.SIGKILL)


def is_running(process: psutil.Process) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def rows_are_flushed(folder: Path) -> bool:
    """Whether wandb has written rows to its file, which it does every second."""
    return any(path.stat().st_size > 4000 for path in folder.glob("run/wandb/*/*.wandb"))
