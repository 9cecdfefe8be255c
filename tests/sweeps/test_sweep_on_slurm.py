"""A sweep as a job array on a real Slurm."""

import json

import pytest

from hpc_dl.config import yaml
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.search import all_runs
from hpc_dl.sweeps.folder import SweepFolder
from tests.cluster.conftest import Desk, command, desk, digits_folder, slurm_desk, wait_until

__all__ = ["command", "desk", "digits_folder", "slurm_desk"]
pytestmark = pytest.mark.slurm

ENDED = {"finished", "failed", "cancelled", "stopped", "lost"}


def states(desk: Desk) -> dict[str, str]:
    return {row["run"]: row["state"] for row in desk.json("status", "tiny-sweep")}


def write_sweep(desk: Desk, *points: dict[str, object]) -> None:
    """The tiny experiment with a user's module, which fails where a point says so."""
    content = yaml.load(desk.folder / "tiny.yaml")
    content["model"] = {"class": "own_model.Own"}
    content["sweep"] = {"method": "list", "points": list(points), "per_task": 2}
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
