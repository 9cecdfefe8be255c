"""W&B for real: wandb's own process and files, against a server on the loopback interface or against none."""

import base64
import json
import os
import shlex
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

from .fake_wandb import FakeWandb

KEY = "5ec3e7" + "0123456789" * 3 + "abcd"
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
        """What holds in every mode: a clean exit, no word on either stream, a clean home, no secret in any file."""
        assert self.process.returncode == 0, self.process.stderr
        assert self.process.stdout == ""
        assert len(self.process.stderr.splitlines()) == 1, self.process.stderr
        assert [path for path in self.home.rglob("*") if path.is_file()] == []
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert [path for path in files if KEY.encode() in path.read_bytes()] == []
        assert all(KEY not in line for line in self.said)

    def offline_rows(self) -> list[dict[str, Any]]:
        """The rows in the .wandb file, by wandb's own reader, once the command that was said has been taken apart."""
        (said,) = (line for line in self.said if "wandb sync" in line)
        folder = Path(said.split()[-1])
        assert folder.parent == self.folder / "wandb"
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [record["history"] for record in map(json.loads, lines) if record["type"] == "history"]


@pytest.fixture
def report(tmp_path) -> Callable[..., Report]:
    def run(url: str, mode: str = "auto", meanwhile: Callable[[int], None] | None = None, **task: Any) -> Report:
        folder, home = tmp_path / "run", tmp_path / "home"
        home.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        config = {"mode": mode, "group": "seeds", "tags": ["a", "b"]}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "HOME": str(home), "NO_PROXY": "127.0.0.1"}
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
        if meanwhile is not None:
            while not (folder / "half-way").exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            meanwhile(process.pid)
            (folder / "half-way").unlink()
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
    assert done.outcome["seconds"]["finish"] < 3


@pytest.mark.slow
def test_the_command_that_is_said_uploads_all_attempts(report, monkeypatch):
    report(NOWHERE, num_rows=15).check()
    time.sleep(1)  # wandb names the folders of its runs by the second
    done = report(NOWHERE, num_rows=10)
    done.check()
    _, command = done.said[-1].split("network: ")
    with FakeWandb() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        monkeypatch.setenv("HOME", str(done.home))
        subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True, capture_output=True, timeout=60)
        steps = [row["trainer/global_step"] for row in server.rows["abc123"]]
    assert steps == [*range(15), *range(10)]


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_a_server_that_is_gone_means_offline_at_once(report, mode):
    done = report(NOWHERE, mode=mode)
    done.check()
    assert done.outcome["seconds"]["start"] < 6
    assert done.said[0].startswith("W&B: recording offline; 127.0.0.1:9 cannot be reached: ")
    assert len(done.said) == 2
    assert len(done.offline_rows()) == 20


def test_a_refused_key_means_offline(report):
    with FakeWandb() as server:
        server.refuse = 401
        done = report(server.url)
    done.check()
    assert done.outcome["seconds"]["start"] < 10
    assert done.said[0].startswith("W&B: recording offline; ")
    assert "401" in done.said[0]
    assert len(done.said) == 2
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_a_server_that_never_answers_means_offline_within_the_bound(report):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        done = report(f"http://127.0.0.1:{mute.getsockname()[1]}")
    done.check()
    assert done.outcome["seconds"]["start"] < 14
    assert done.said[0].startswith("W&B: recording offline; ")
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_a_server_that_dies_does_not_hold_up_the_run(report):
    with FakeWandb() as server:
        done = report(server.url, pause_at=10, meanwhile=lambda _: server.die())
    done.check()
    assert done.outcome["seconds"]["log"] < 3
    assert done.outcome["seconds"]["finish"] < 9
    assert len(done.said) == 2  # where it reports, and how to upload what did not go through
    assert "wandb sync --include-online " in done.said[1]
    assert len(done.offline_rows()) == 20


@pytest.mark.slow
def test_the_death_of_wandbs_own_process_is_said_once(report):
    def kill_core(pid: int) -> None:
        children = psutil.Process(pid).children(recursive=True)
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=5)

    done = report(NOWHERE, mode="offline", num_rows=500, pause_at=100, meanwhile=kill_core)
    assert done.process.returncode == 0, done.process.stderr
    assert done.process.stdout == ""
    assert done.outcome["seconds"]["log"] < 10
    assert done.outcome["seconds"]["finish"] < 9
    told = [line for line in done.said if "training goes on" in line]
    assert len(told) == 1


def test_disabled_does_not_even_import_wandb(report):
    done = report(NOWHERE, mode="disabled")
    done.check()
    assert done.said == []
    assert not done.outcome["imported"]
    assert list(done.folder.iterdir()) == []
