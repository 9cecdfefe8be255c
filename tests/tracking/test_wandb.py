"""W&B for real: wandb's own process and files, against a server on the loopback interface or
against none."""

import base64
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.tracking.journal import read_journal

from .fake_wandb import FakeWandb

KEY = "5ec3e7" + "0123456789" * 3 + "abcd"
PATIENCE_S = 45  # far above our own limits on a busy machine, far below wandb's: 90 s to begin, hours to end
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


@dataclass
class Report:
    folder: Path
    home: Path
    process: subprocess.CompletedProcess[str]
    wall_s: float

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads(self.process.stderr.splitlines()[-1])

    @property
    def said(self) -> list[str]:
        return self.outcome["said"]

    def check(self) -> None:
        """What holds in every mode: a clean exit, no word on either stream, a clean home, no secret
        in any file."""
        assert self.process.returncode == 0, self.process.stderr
        assert self.process.stdout == ""
        assert len(self.process.stderr.splitlines()) == 1, self.process.stderr
        assert [path for path in self.home.rglob("*") if path.is_file()] == []
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert [path for path in files if KEY.encode() in path.read_bytes()] == []
        assert all(KEY not in line for line in self.said)

    def offline_rows(self) -> list[dict[str, Any]]:
        """The rows in the .wandb file, by wandb's own reader, once the command that was said has
        been taken apart."""
        (said,) = (line for line in self.said if "wandb sync" in line)
        folder = Path(said.split()[-1])
        assert folder.parent == self.folder / "wandb"
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [record["history"] for record in map(json.loads, lines) if record["type"] == "history"]


def wait(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def signal_all(process: psutil.Process, number: int) -> None:
    """As Slurm does: to every process of the step, wandb's own among them, which then ends."""
    children = process.children(recursive=True)
    for one in [*children, process]:
        one.send_signal(number)
    wait(lambda: not any(runs(child) for child in children))


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def report(tmp_path) -> Callable[..., Report]:
    def run(
        url: str, mode: str = "auto", meanwhile: dict[int, Callable[[psutil.Process], None]] | None = None, **task: Any
    ) -> Report:
        """Have report.py do a task; ``meanwhile`` has what to do with its process before it logs a
        step."""
        meanwhile = meanwhile or {}
        task["pauses_at"] = list(meanwhile)
        folder, home = tmp_path / "run", tmp_path / "home"
        home.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        config = {"mode": mode, "group": "seeds", "tags": ["a", "b"]}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "HOME": str(home), "NO_PROXY": "127.0.0.1"}
        environment["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "0.2"  # 15 s else
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("report.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"config": config, "folder": str(folder), "num_rows": 20, **task}))
        process.stdin.close()
        process.stdin = None  # communicate() would flush it
        for step, act in meanwhile.items():
            wait(lambda half_way=folder / f"half-way-{step}": half_way.exists() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            act(psutil.Process(process.pid))
            (folder / f"half-way-{step}").unlink()
        stdout, stderr = process.communicate(timeout=60)
        completed = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        return Report(folder, home, completed, time.monotonic() - start)

    return run


def test_online_everything_arrives(report):
    with FakeWandb() as server:
        done = report(server.url, num_rows=50, exit_code=1)
        done.check()
        assert done.said == [f"W&B: {server.url}/somebody/hpc_dl/runs/abc123"]
        rows = server.rows["abc123"]
        assert [row["trainer/global_step"] for row in rows] == list(range(50))
        assert rows[1]["train/loss"] == 0.5
        assert server.summaries["abc123"]["test/accuracy"] == 0.5
        assert server.exit_codes == {"abc123": 1}
        run = server.run("abc123")
        assert (run["project"], run["groupName"], run["tags"]) == ("hpc_dl", "seeds", ["a", "b"])
        assert (run["displayName"], run["jobType"]) == ("a run", "train")
        assert run["config"]["model"] == {"name": "mlp", "width": 64}
        assert run["config"]["hpc_dl"] == {"slurm_job_id": "4711"}
        assert {"2": "*", "5": 1, "6": [1], "7": []} in run["config"]["_wandb"]["m"]  # "*" is drawn over metric 1
        assert run["config"]["_wandb"]["m"][0]["1"] == "trainer/global_step"
        assert server.authorized == {"Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()}


def test_offline_every_row_is_in_the_file(report):
    done = report(NOWHERE, mode="offline", num_rows=300)
    done.check()
    assert done.said[0] == "W&B: recording offline; wandb.mode is offline"
    assert len(done.said) == 2
    rows = done.offline_rows()
    assert len(rows) == 300


def sync(done: Report, server: FakeWandb) -> None:
    """Run the command that was said."""
    _, command = done.said[-1].split("network: ")
    login_node = done.folder.with_name("home-of-the-login-node")
    environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "HOME": str(login_node)}
    environment["WANDB_ERROR_REPORTING"] = "false"
    command = command.replace("wandb sync", shlex.join([sys.executable, "-m", "wandb", "sync"]))
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=60, env=environment)


def check_one_history(done: Report, server: FakeWandb, num_steps: int = 30) -> None:
    """W&B has the journal's history row by row: each step once, in order, none missing, all values
    in it."""
    journal = [{name: row[name] for name in row if name != "time"} for row in read_journal(done.folder / "journal")]
    assert [row["step"] for row in journal] == list(range(num_steps))
    assert [row["step"] for row in journal if "val/loss" in row] == list(range(4, num_steps, 5))
    rows = server.rows["abc123"]
    assert [row["_step"] for row in rows] == [row["trainer/global_step"] for row in rows]
    times = [row["_timestamp"] for row in rows]
    assert times == sorted(times)
    own = {"_step", "_timestamp", "_runtime", "trainer/global_step"}
    shown = [{"step": row["_step"], **{name: row[name] for name in row if name not in own}} for row in rows]
    assert shown == journal


def flushed(folder: Path) -> bool:
    """Whether wandb has put rows into the file, which it does each second."""
    return any(path.stat().st_size > 4000 for path in folder.glob("run/wandb/*/*.wandb"))


def kill(process: psutil.Process) -> None:
    signal_all(process, signal.SIGKILL)


@pytest.mark.slow
def test_online_a_killed_run_that_goes_on_has_one_history(report):
    with FakeWandb() as server:

        def cut_off(_: psutil.Process) -> None:
            wait(lambda: len(server.rows.get("abc123", [])) >= 9)
            server.refuse = 503

        report(server.url, attempt=0, meanwhile={10: cut_off, 19: kill})
        server.refuse = None
        assert 9 <= len(server.rows["abc123"]) <= 10
        done = report(server.url, attempt=1, from_step=5, num_rows=30)
        done.check()
        check_one_history(done, server)
        assert server.exit_codes == {"abc123": 0}


@pytest.mark.slow
def test_offline_a_killed_run_that_goes_on_has_one_history(report, tmp_path):
    with FakeWandb() as server:
        killed = report(NOWHERE, attempt=0, meanwhile={10: lambda _: wait(lambda: flushed(tmp_path)), 19: kill})
        assert killed.process.returncode == -signal.SIGKILL
        report(NOWHERE, attempt=1, from_step=18, num_rows=25, preempted=True).check()
        done = report(NOWHERE, attempt=2, from_step=23, num_rows=30)
        done.check()
        sync(done, server)
        check_one_history(done, server)


@pytest.mark.slow
def test_a_run_that_was_offline_and_is_online_again_has_one_history(report):
    with FakeWandb() as server:
        report(server.url, attempt=0, num_rows=8, exit_code=1).check()
        assert server.exit_codes == {"abc123": 1}
        report(NOWHERE, attempt=1, from_step=6, num_rows=22).check()
        done = report(server.url, attempt=2, from_step=20, num_rows=30)
        done.check()
        check_one_history(done, server)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_stopped_run_is_preempted_and_goes_on(report, mode, tmp_path):
    """Stopped by SIGTERM, which wandb's own process does not survive, between the training and its
    validation."""
    with FakeWandb() as server:
        stopped = report(
            server.url,
            mode,
            attempt=0,
            num_rows=20,
            to_validation=True,
            preempted=True,
            meanwhile={
                10: lambda _: wait(lambda: flushed(tmp_path)),
                18: lambda process: signal_all(process, signal.SIGTERM),
            },
        )
        assert stopped.process.returncode == 0, stopped.process.stderr
        assert stopped.outcome["seconds"]["finish"] < PATIENCE_S
        if mode == "offline":
            sync(stopped, server)
        assert server.preempting == {"abc123"}
        assert server.exit_codes == {"abc123": os.EX_TEMPFAIL}
        assert server.summaries["abc123"]["train/loss"] == 1 / 20
        assert [row["_step"] for row in server.rows["abc123"]] == list(range(19))
        done = report(server.url, mode, attempt=1, from_step=20, from_validation=True, num_rows=30)
        done.check()
        if mode == "offline":
            sync(done, server)
        check_one_history(done, server)
        assert server.exit_codes == {"abc123": 0}
        assert server.preempting == set()


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_that_is_gone_means_offline_at_once(report, mode):
    done = report(NOWHERE, mode=mode)
    done.check()
    assert done.outcome["seconds"]["start"] < PATIENCE_S
    assert done.said[0].startswith("W&B: recording offline; 127.0.0.1:9 cannot be reached: ")
    assert len(done.said) == 2
    assert len(done.offline_rows()) == 20


def test_a_refused_key_means_offline(report):
    with FakeWandb() as server:
        server.refuse = 401
        done = report(server.url)
    done.check()
    assert done.outcome["seconds"]["start"] < PATIENCE_S
    assert done.said[0].startswith("W&B: recording offline; ")
    assert "401" in done.said[0]
    assert len(done.said) == 2
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_a_server_that_never_answers_means_offline_within_the_bound(report):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        done = report(f"http://127.0.0.1:{mute.getsockname()[1]}")
    done.check()
    assert done.outcome["seconds"]["start"] < PATIENCE_S
    assert done.said[0].startswith("W&B: recording offline; ")
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_a_server_that_dies_does_not_hold_up_the_run(report):
    with FakeWandb() as server:
        done = report(server.url, meanwhile={10: lambda _: server.die()})
    done.check()
    assert done.outcome["seconds"]["log"] < PATIENCE_S
    assert done.outcome["seconds"]["finish"] < PATIENCE_S
    assert len(done.said) == 2  # where it reports, and how to upload what did not go through
    assert "wandb sync --include-online " in done.said[1]
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_the_death_of_wandbs_own_process_is_said_once(report):
    def kill_core(process: psutil.Process) -> None:
        children = process.children(recursive=True)
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=5)

    done = report(NOWHERE, mode="offline", num_rows=500, meanwhile={100: kill_core})
    assert done.process.returncode == 0, done.process.stderr
    assert done.process.stdout == ""
    assert done.outcome["seconds"]["log"] < PATIENCE_S
    assert done.outcome["seconds"]["finish"] < PATIENCE_S
    told = [line for line in done.said if "training continues" in line]
    assert len(told) == 1


def test_a_server_that_refuses_half_way_is_said(report):
    with FakeWandb() as server:

        def refuse(_: psutil.Process) -> None:
            server.refuse = 403

        done = report(server.url, meanwhile={10: refuse})
    done.check()
    assert [line.split(" (")[0] for line in done.said[1:-1]] == ["W&B: the server has refused rows"]
    assert "wandb sync --include-online " in done.said[-1]


def test_disabled_does_not_even_import_wandb(report):
    done = report(NOWHERE, mode="disabled")
    done.check()
    assert done.said == []
    assert not done.outcome["imported"]
    assert list(done.folder.iterdir()) == []
