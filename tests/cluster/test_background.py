"""Background runs on a machine without Slurm."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster.notify_config import Notify
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.runs.attempts import history
from hpc_dl.runs.state import read_state
from tests.cluster.conftest import Desk, wait_until


@pytest.mark.slow
def test_submit_without_slurm_runs_in_the_background(desk: Desk) -> None:
    result = desk.run("submit", "tiny.yaml", "--wait", "--json")
    assert "This machine has no Slurm" in result.stderr
    assert '"state": "finished"' in result.stdout
    assert '"test/accuracy"' in result.stdout
    assert "epoch 1/1" in result.stderr  # rank 0's log


@pytest.mark.slow
def test_end_of_a_background_run_is_reported(desk: Desk, tmp_path: Path) -> None:
    report = tmp_path / "report"
    write = f"import sys; open({str(report)!r}, 'a').write(sys.stdin.read() + '\\n')"
    profile = SiteProfile(notify=Notify(command=[sys.executable, "-c", write]))
    (desk.folder / "own.yaml").write_text(profile.dumps(), encoding="utf-8")
    desk.run("submit", "tiny.yaml", "--site", "own.yaml")
    wait_until(lambda: report.exists() and report.read_text().endswith("\n"), "the end was reported")
    (line,) = report.read_text().splitlines()
    facts = json.loads(line)
    assert (facts["event"], facts["run"], facts["job"]) == ("finished", desk.only_run().name, "")
    assert "test/accuracy" in facts["metrics"]


@pytest.mark.slow
def test_background_run_survives_ctrl_c_and_can_be_cancelled(desk: Desk) -> None:
    submitter = desk.start(
        "submit", "tiny.yaml", "model={class: own_model.Own, args: {slow_until: never}}", "optimizer={}",
        "trainer.max_epochs=1000", "--wait", start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: list(desk.runs.glob("*/logs/rank-0.log")), "the run has started")
    run = desk.only_run()
    wait_until(lambda: "rank 0 starts" in run.log(0).read_text(), "the training has started")
    os.killpg(submitter.pid, signal.SIGINT)  # like Ctrl-C in a terminal
    _, err = submitter.communicate(timeout=300)
    assert submitter.returncode == 130
    assert "The run continues" in err and f"hpc-dl logs {run.name} --follow" in err
    assert desk.json("status", "latest")[0]["state"] == "running"
    assert "stop requested" in desk.run("cancel", run.name).stderr
    wait_until(lambda: desk.json("status", run.name)[0]["state"] == "cancelled", "the run is cancelled", 90)
    assert "had already ended (cancelled)" in desk.run("cancel", run.name).stderr


@pytest.mark.slow
def test_background_run_resumes_after_its_time_limit(desk: Desk) -> None:
    desk.run(
        "submit", "tiny.yaml", "model={class: own_model.Own, args: {slow_until: never}}", "optimizer={}",
        "trainer.max_epochs=1000", "trainer.limit_train_batches=1.0", "resources.time=1",
    )  # fmt: skip
    run = desk.only_run()
    wait_until(lambda: len(history(run)) >= 3, "it was stopped and started again", 180)
    _, ended, started = history(run)[:3]
    assert (ended["state"], ended["cause"]) == ("stopped", "limit")
    assert started["from_step"] == ended["step"] > 0
    desk.run("cancel", run.name)
    wait_until(lambda: desk.json("status", run.name)[0]["state"] == "cancelled", "the run is cancelled", 60)
    assert read_state(run).get("step", started["from_step"]) >= ended["step"], "no step is lost"
