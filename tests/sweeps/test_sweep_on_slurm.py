"""A sweep as a job array on a real Slurm."""

import json
import os
import signal
import subprocess

import pytest

from hpc_dl.config import yaml
from hpc_dl.regular_files import read_json
from hpc_dl.runs.attempts import history
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state
from hpc_dl.sweeps.folder import SweepFolder
from tests.cluster.conftest import Desk, command, desk, digits_folder, slurm_desk, wait_until

__all__ = ["command", "desk", "digits_folder", "slurm_desk"]
pytestmark = pytest.mark.slurm

ENDED = {"finished", "failed", "cancelled", "stopped", "lost"}


def states(desk: Desk) -> dict[str, str]:
    return {row["run"]: row["state"] for row in desk.json("status", "tiny-sweep")}


def write_sweep(desk: Desk, *points: dict[str, object], **section: object) -> None:
    """The tiny experiment with a user's module, which fails where a point says so."""
    content = yaml.load(desk.folder / "tiny.yaml")
    content["model"] = {"class": "own_model.Own"}
    content["sweep"] = {"method": "list", "points": list(points), "per_task": 2} | section
    (desk.folder / "own.yaml").write_text(yaml.dumps(content))


def test_failing_member_is_resumed_alone_and_more_points_run_alone(slurm_desk: Desk) -> None:
    fails, works = {"model.args": {"fail_on_rank": 0}}, {"trainer.limit_train_batches": 2}
    write_sweep(slurm_desk, fails, works)
    submitted = slurm_desk.json("sweep", "own.yaml", "--no-try", "name=tiny")
    (array,) = submitted["submissions"]
    failing, working = (member["run"] for member in submitted["new"])
    wait_until(lambda: set(states(slurm_desk).values()) <= ENDED, "all members have ended", 120)
    assert states(slurm_desk) == {failing: "failed", working: "finished"}, (
        "the second one of a task runs after a failure"
    )
    sweep = SweepFolder(slurm_desk.runs / "tiny-sweep")
    jobs = {read_json(run.job)["job_id"] for run in sweep.runs()}
    assert jobs == {f"{array['job_id']}_0"}

    again = slurm_desk.json("resume", "tiny-sweep", "--failed")
    assert again["runs"] == [failing]
    write_sweep(slurm_desk, fails, works, {"trainer.limit_train_batches": 3})
    more = json.loads(slurm_desk.run("sweep", "own.yaml", "--no-try", "name=tiny", "--json").stdout)
    (new,) = (member["run"] for member in more["new"])
    wait_until(lambda: set(states(slurm_desk).values()) <= ENDED, "all members have ended again", 120)
    assert states(slurm_desk) == {failing: "failed", working: "finished", new: "finished"}

    slurm_desk.run("submit", "own.yaml", "trainer.limit_train_batches=3", "name=tiny", "--no-try", "--wait")
    (single,) = all_runs(slurm_desk.runs)
    (member,) = (run for run in sweep.runs() if run.name == new)
    assert differences(single, member) == []


def test_member_that_its_task_will_still_reach_cannot_be_resumed(slurm_desk: Desk) -> None:
    write_sweep(slurm_desk, {"model.args": {"hang_on_rank": 0}}, {"trainer.limit_train_batches": 2})
    submitted = slurm_desk.json("sweep", "own.yaml", "--no-try", "name=tiny")
    hanging, waiting = (member["run"] for member in submitted["new"])
    wait_until(lambda: states(slurm_desk)[hanging] == "running", "the first member runs", 120)
    slurm_desk.run("cancel", waiting)
    assert states(slurm_desk)[waiting] == "cancelled"
    assert slurm_desk.json("resume", "tiny-sweep")["runs"] == []
    assert "still trains other runs" in slurm_desk.run("resume", waiting, status=2).stderr
    slurm_desk.run("cancel", "tiny-sweep")
    wait_until(lambda: set(states(slurm_desk).values()) == {"cancelled"}, "the task has ended", 60)


def test_side_by_side_members_are_cancelled_alone_and_requeued_together(slurm_desk: Desk) -> None:
    go_on = slurm_desk.folder / "go-on"
    waits = {"model.args": {"slow_until": str(go_on)}, "trainer.limit_train_batches": 40, "trainer.max_epochs": 20}
    points = [{"trainer.limit_train_batches": 2}, waits, waits | {"data.batch_size": 16}]
    write_sweep(slurm_desk, *points, per_task=3, side_by_side=True)
    (array,) = slurm_desk.json("sweep", "own.yaml", "--no-try", "name=tiny")["submissions"]
    quick, slow, unwanted = SweepFolder(slurm_desk.runs / "tiny-sweep").runs()
    wait_until(lambda: all(has_started(run) for run in (quick, slow, unwanted)), "all three train", 120)

    slurm_desk.run("cancel", unwanted.name)
    wait_until(lambda: read_state(unwanted)["state"] == "cancelled", "only one is cancelled", 60)
    wait_until(lambda: read_state(quick)["state"] == "finished", "the quick one has finished", 60)
    assert read_state(slow)["state"] == "running"

    warn = ["scancel", "--signal=USR2", f"{array['job_id']}_0"]
    subprocess.run(warn, env=slurm_desk.environment, check=True, timeout=60)
    wait_until(lambda: read_state(slow)["state"] == "stopped", "the slow one has stopped", 60)
    go_on.touch()
    wait_until(lambda: read_state(slow)["state"] == "finished", "it was requeued and has finished", 180)
    starts = [sum(event["event"] == "started" for event in history(run)) for run in (quick, slow, unwanted)]
    assert starts == [1, 2, 1], "the task was requeued once, for the one that had stopped"

    settings = (f"model.args.slow_until={go_on}", "trainer.limit_train_batches=40", "trainer.max_epochs=20")
    slurm_desk.run("submit", "own.yaml", *settings, "name=tiny", "--no-try", "--wait")
    (single,) = all_runs(slurm_desk.runs)
    assert differences(single, slow) == []


def test_killing_one_task_changes_nothing_in_the_others(slurm_desk: Desk) -> None:
    go_on = slurm_desk.folder / "go-on"
    waits = {"model.args": {"slow_until": str(go_on)}, "trainer.limit_train_batches": 40, "trainer.max_epochs": 20}
    write_sweep(slurm_desk, waits, waits | {"data.batch_size": 16}, per_task=1)
    slurm_desk.run("sweep", "own.yaml", "--no-try", "name=tiny")
    killed, other = SweepFolder(slurm_desk.runs / "tiny-sweep").runs()
    wait_until(lambda: has_started(killed) and has_started(other), "both train", 120)
    os.kill(int(killed.lock.read_text().split()[1]), signal.SIGKILL)  # the nodes of the cluster are this machine
    wait_until(lambda: states(slurm_desk)[killed.name] == "lost", "one is lost", 120)
    go_on.touch()
    wait_until(lambda: read_state(other)["state"] == "finished", "the other has finished", 120)
    assert [event["event"] for event in history(other)] == ["started", "ended"]
    assert states(slurm_desk)[killed.name] == "lost"


def has_started(run: RunFolder) -> bool:
    return "rank 0 starts" in (run.log(0).read_text() if run.log(0).exists() else "")
