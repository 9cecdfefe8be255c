"""W&B's own client agrees with us: it reads what we sent, and sends what we send."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.tracking import wandb_server as protocol
from hpc_dl.tracking.journal import read_journal

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun

pytestmark = pytest.mark.slow

_CLIENT = """
import wandb
run = wandb.init(project="hpc_dl", id="theirs", name="a run", group="seeds", tags=["a"], config={"width": 64})
run.define_metric("trainer/global_step")
run.define_metric("*", step_metric="trainer/global_step")
for step in range(1, 11):
    run.log({"train/loss": 1.0 / step, "trainer/global_step": step, "epoch": 0}, step=step)
run.summary["best"] = 0.5
run.finish()
"""


def test_client_reads_every_row(run: ReportedRun, wandb_server: FakeWandb) -> None:
    import wandb

    attempt = run.attempt()
    attempt.log(1, 30)
    attempt.end()
    shown = wandb.Api().run(f"test-entity/hpc_dl/{run.id}")
    assert (shown.state, shown.lastHistoryStep, shown.config["width"]) == ("finished", 30, 64)
    rows = [{name: row.get(name) for name in ("_step", "train/loss", "val/loss")} for row in shown.scan_history()]
    journal = read_journal(run.folder / "journal")
    assert rows == [
        {"_step": row["step"], "train/loss": row["train/loss"], "val/loss": row.get("val/loss")} for row in journal
    ]


def test_client_sends_the_same_requests(run: ReportedRun, wandb_server: FakeWandb, tmp_path: Path) -> None:
    """The form of each request is that of the client; it may send more, but not otherwise."""
    environment = os.environ | {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", _CLIENT], env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    attempt = run.attempt()
    attempt.log(1, 10)
    attempt.end()
    theirs, ours = wandb_server.streams["theirs"], wandb_server.streams[run.id]
    assert set(ours) <= set(theirs)
    for name in ("wandb-history.jsonl", "wandb-summary.json"):
        assert set(ours[name]) == set(theirs[name]) == {"offset", "content"}
    their_row, our_row = wandb_server.rows["theirs"][2], wandb_server.rows[run.id][2]
    assert set(our_row) == set(their_row)
    assert {name: type(value) for name, value in our_row.items()} == {n: type(v) for n, v in their_row.items()}
    described, ours_described = wandb_server.run("theirs"), wandb_server.run(run.id)
    for name in ("project", "displayName", "groupName", "tags"):
        assert ours_described[name] == described[name]
    assert ours_described["config"]["width"] == described["config"]["width"]
    metrics = [{k: v for k, v in m.items() if v} for m in ours_described["config"]["_wandb"]["m"]]
    assert metrics == [{k: v for k, v in m.items() if v} for m in described["config"]["_wandb"]["m"]]
    assert wandb_server.state("theirs") == wandb_server.state(run.id) == "finished"


def test_mutations_are_those_of_the_client() -> None:
    """``wandb-core`` has the texts of its queries; ours have the same arguments and fields."""
    import wandb

    core = (Path(wandb.__file__).parent / "bin" / "wandb-core").read_bytes()
    for name, text in {"UpsertBucket": protocol._UPSERT, "RunResumeStatus": protocol._RESUME_STATUS,
                       "CreateRunFiles": protocol._CREATE_FILES}.items():  # fmt: skip
        start = core.index(re.search(rf"(mutation|query) {name} \(".encode(), core)[0])
        theirs = core[start : start + len(text) * 2].decode(errors="replace")
        assert _words(theirs)[: len(_words(text))] == _words(text), name


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
