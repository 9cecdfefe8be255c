"""Runs that wait for others on a real Slurm: requeues, failures, tasks of arrays."""

import subprocess

import pytest

from hpc_dl.config import yaml
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from tests.cluster.conftest import Desk, wait_until

pytestmark = pytest.mark.slurm

OWN = ("model={class: own_model.Own, args: {slow_until: go}}", "optimizer={}", "trainer.limit_train_batches=20")


def state(desk: Desk, name: str) -> tuple[str, str]:
    row = desk.json("status", name)[0]
    return row["state"], row.get("reason", "")


def submit(desk: Desk, *arguments: str) -> str:
    return str(desk.json("submit", "tiny.yaml", *arguments, "--no-try")["run"])


def test_a_requeued_run_still_counts(slurm_desk: Desk) -> None:
    first = submit(slurm_desk, *OWN, "trainer.max_epochs=100")
    second = submit(slurm_desk, "--after", first)
    run = RunFolder(slurm_desk.runs / first)
    wait_until(lambda: run.log(0).exists() and "starts" in run.log(0).read_text(), "the first has started", 120)
    job = read_json(run.job)["job_id"]

    def scontrol(*arguments: str) -> None:
        subprocess.run(["scontrol", *arguments], env=slurm_desk.environment, check=False)

    scontrol("requeue", job)
    wait_until(lambda: state(slurm_desk, first)[0] == "pending", "the first is in the queue again", 60)
    assert state(slurm_desk, second) == ("pending", f"waits for {first} (Dependency)")
    (slurm_desk.folder / "go").touch()

    def ended() -> bool:
        scontrol("update", f"jobid={job}", "starttime=now")
        return state(slurm_desk, second)[0] == "finished"

    wait_until(ended, "the second has finished", 120)
    assert state(slurm_desk, first)[0] == "finished"


def test_a_failure_cancels_the_whole_chain(slurm_desk: Desk) -> None:
    failing = submit(slurm_desk, *OWN, "trainer.max_epochs=1000", "model.args.fail_on_rank=0")
    second = submit(slurm_desk, "--after", failing)
    third = submit(slurm_desk, "--after", second)
    (slurm_desk.folder / "go").touch()
    wait_until(lambda: state(slurm_desk, third)[0] == "cancelled", "the chain has ended", 120)
    for name in (second, third):
        assert state(slurm_desk, name)[1].startswith(f"not started: {failing} failed: RuntimeError: deliberate")
    refused = slurm_desk.run("submit", "tiny.yaml", "--after", f"{failing},{second}", status=2)
    assert f"{failing}: cannot be waited for: it is failed" in refused.stderr
    assert f"{second}: cannot be waited for: it is cancelled" in refused.stderr


def test_a_member_of_a_task_counts_for_itself(slurm_desk: Desk) -> None:
    content = yaml.load(slurm_desk.folder / "tiny.yaml")
    content["model"] = {"class": "own_model.Own"}
    content["trainer"] |= {"limit_train_batches": 1.0, "max_epochs": 20}
    points = [{"model.args": {"slow_until": "go"}}, {"model.args": {"slow_until": "go", "fail_on_rank": 0}}]
    content["sweep"] = {"method": "list", "points": points, "per_task": 2}
    (slurm_desk.folder / "own.yaml").write_text(yaml.dumps(content))
    working, failing = (member["run"] for member in slurm_desk.json("sweep", "own.yaml", "--no-try")["new"])
    after_working = submit(slurm_desk, "--after", working)
    after_failing = submit(slurm_desk, "--after", failing)
    (slurm_desk.folder / "go").touch()
    wait_until(lambda: state(slurm_desk, after_working)[0] == "finished", "the run has finished", 180)
    wait_until(lambda: state(slurm_desk, after_failing)[0] == "cancelled", "the other is cancelled", 60)
    assert f"not started: {failing} failed" in state(slurm_desk, after_failing)[1]
