"""The end of a run reaches a real HTTP server and a real program, and never changes the run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.notification import facts_of, notify
from hpc_dl.cluster.notify_config import Notify
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.submit import batch_script
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.schema import parse

ENVIRONMENT = {"PATH": os.environ["PATH"]}
FACTS = {"event": "failed", "run": "x-1", "text": "hpc_dl: x-1 failed: no memory", "metrics": {}}


class Server(ThreadingHTTPServer):
    """A webhook that answers with the given statuses in turn, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.received: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing is shown."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as started:
        threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield started
        started.shutdown()


def environment(server: Server) -> dict[str, str]:
    return ENVIRONMENT | {"HOOK": f"http://127.0.0.1:{server.server_port}/secret"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "x-1")
    run.path.mkdir()
    return run


def test_webhook_gets_json(server: Server) -> None:
    assert notify(Notify(webhook_env="HOOK"), FACTS, environment(server)) == []
    assert server.received == [FACTS]


def test_webhook_is_tried_once_more(server: Server) -> None:
    server.statuses = [503]
    assert notify(Notify(webhook_env="HOOK"), FACTS, environment(server)) == []
    assert len(server.received) == 2


def test_failing_webhook_is_one_line_without_the_url(server: Server) -> None:
    server.statuses = [404, 500]
    (problem,) = notify(Notify(webhook_env="HOOK"), FACTS, environment(server))
    assert problem == "notify.webhook_env: the webhook in HOOK failed: HTTP status 500"
    assert len(server.received) == 2
    for url in ("file:///etc/passwd", "http://127.0.0.1:1/secret", "http://[secret", "http://127.0.0.1:1/a secret"):
        (problem,) = notify(Notify(webhook_env="HOOK"), FACTS, ENVIRONMENT | {"HOOK": url})
        assert "secret" not in problem and "failed" in problem
    assert notify(Notify(webhook_env="HOOK"), FACTS, ENVIRONMENT) == ["notify.webhook_env: HOOK is not set in the job"]


def test_command_gets_the_facts_and_no_shell(tmp_path: Path) -> None:
    write = "import os, sys; open(sys.argv[1], 'w').write(sys.stdin.read() + os.environ['HPC_DL_NOTIFY_RUN'])"
    target = tmp_path / "a $HOME; b"
    assert notify(Notify(command=[sys.executable, "-c", write, str(target)]), FACTS, ENVIRONMENT) == []
    assert target.read_text() == json.dumps(FACTS) + "x-1"
    for command, problem in ((["false"], "exit status 1"), (["/missing"], "No such file")):
        (line,) = notify(Notify(command=command), FACTS, ENVIRONMENT)
        assert problem in line


@pytest.mark.parametrize(
    ("state", "details", "event", "reason"),
    [
        ("finished", {}, "finished", ""),
        ("failed", {"reason": "no\x1b[31m memory"}, "failed", "no"),
        ("diverged", {"reason": "loss is NaN"}, "failed", "loss is NaN"),
        ("stopped", {}, "stopped", ""),
        ("running", {}, "failed", "its ranks were killed before they could report why (exit status 137)"),
        ("pruned", {}, None, ""),
    ],
)
def test_event_of_a_state(run: RunFolder, state: Any, details: dict[str, str], event: str | None, reason: str) -> None:
    write_state(run, state, **details)
    facts = facts_of(run, 137, {})
    assert facts.get("event") == event
    assert facts.get("reason", "").startswith(reason) and "\x1b" not in str(facts)


def test_cancelled_run_is_not_a_failed_one(run: RunFolder) -> None:
    write_state(run, "running")
    write_json(run.cancelled, {"by": "scancel"})
    assert facts_of(run, 137, {})["event"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "on", "reported"), [(3, "failed", True), (0, "failed", True), (3, "stopped", False)]
)
def test_end_of_the_batch_script_is_reported_and_keeps_its_status(
    run: RunFolder, tmp_path: Path, status: int, on: Any, reported: bool
) -> None:
    report = tmp_path / "report"
    write = f"import sys; open({str(report)!r}, 'a').write(sys.stdin.read())"
    config = Notify(on=[on], command=[sys.executable, "-c", write])
    run.site.write_text(SiteProfile(notify=config).dumps(), encoding="utf-8")
    write_state(run, "failed", reason="because")
    lines = [f"run={run.path}", *config.setup_lines(), f"(exit {status})", "exit $?"]
    shell = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (shell.returncode, shell.stderr) == (status, "")
    assert report.exists() == reported
    if reported:
        assert json.loads(report.read_text())["text"] == "hpc_dl: x-1 failed: because"


def test_mail_is_left_to_slurm(tmp_path: Path) -> None:
    content = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}}
    experiment = Experiment.from_dict(content)
    with_mail = SiteProfile(notify=Notify(on=["failed", "finished"], mail="me@x.example"))
    script = batch_script(tmp_path, experiment, with_mail)
    assert "#SBATCH --mail-type=FAIL,END\n#SBATCH --mail-user=me@x.example\n" in script
    assert "notification" not in script
    assert script.splitlines() != batch_script(tmp_path, experiment, SiteProfile()).splitlines()


@pytest.mark.parametrize(
    "section",
    [
        {"webhook_env": "https://hooks.example/secret"},
        {"mail": "me@x; rm"},
        {"command": "echo done"},
        {"on": ["requeued"]},
        {"on": []},
    ],
)
def test_wrong_settings_are_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"notify\.{next(iter(section))}"):
        parse(Notify, section, "notify")
