"""Submitting, following and cancelling on a real Slurm, end to end."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from hpc_dl.regular_files import read_json
from hpc_dl.runs.search import all_runs
from tests.cli.conftest import HpcDl, hpc_dl
from tests.cluster.conftest import Desk, wait_until
from tests.conftest import PROJECT

__all__ = ["hpc_dl"]
pytestmark = pytest.mark.slurm

FOUR_RANKS = ("resources.nodes=2", "resources.gpus_per_node=2")
OWN = ("model={class: own_model.Own}", "optimizer={}")


def hold(desk: Desk) -> None:
    """Submit all later jobs with --hold, so that they stay in the queue."""
    wrapper = desk.folder.parent / "bin" / "sbatch"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("sbatch")} --hold "$@"\n')
    wrapper.chmod(0o755)


def test_submit_single_task(slurm_desk: Desk) -> None:
    secret = "0123456789abcdef" * 2 + "01234567"
    slurm_desk.environment["WANDB_API_KEY"] = secret
    outcome = slurm_desk.json("submit", "tiny.yaml", "--wait")
    run = slurm_desk.only_run()
    assert (outcome["run"], outcome["dir"], outcome["state"]) == (run.name, str(run.path), "finished")
    assert {"val/loss", "test/accuracy"} <= outcome["metrics"].keys()
    assert outcome["job"] == f"Slurm job {read_json(run.job)['job_id']}"
    assert slurm_desk.json("results")[0]["metrics"] == outcome["metrics"]
    assert "Finished after" in slurm_desk.run("logs", "latest", "--follow").stdout
    assert [path for path in run.path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()] == []


def test_four_ranks_on_two_nodes_equal_one_process(slurm_desk: Desk) -> None:
    batches = ("data={source: digits, global_batch_size: 64}", "trainer.limit_test_batches=1.0")
    four = slurm_desk.json("submit", "tiny.yaml", *FOUR_RANKS, *batches, "--site", "dev", "--wait")
    one = slurm_desk.json("train", "tiny.yaml", *batches)
    assert (four["world_size"], one["world_size"]) == (4, 1)
    assert four["metrics"]["test/loss"] == pytest.approx(one["metrics"]["test/loss"], rel=1e-4)
    folder = Path(four["dir"])
    assert sorted(path.name for path in (folder / "logs").iterdir()) == [f"rank-{rank}.log" for rank in range(4)]


def test_failing_rank_fails_the_job(slurm_desk: Desk) -> None:
    result = slurm_desk.run(
        "submit", "tiny.yaml", *FOUR_RANKS, *OWN, "model.args={fail_on_rank: 3, hang_on_rank: 0}", "--wait", "--json",
        status=1,
    )  # fmt: skip
    outcome = json.loads(result.stdout)
    assert (outcome["state"], outcome["rank"]) == ("failed", 3)
    statement = r'RuntimeError: deliberate, in \S+/own_model\.py line \d+: `raise RuntimeError\("deliberate"\)`'
    assert re.fullmatch(statement, outcome["reason"])
    assert "RuntimeError: deliberate" in Path(outcome["log"]).read_text()
    # With a result pickle of submitit, the job would count as result.
    assert not list((slurm_desk.only_run().submitit).glob("*_3_result.pkl"))


def test_edits_while_the_job_is_queued_have_no_effect(slurm_desk: Desk) -> None:
    hold(slurm_desk)
    slurm_desk.run("submit", "tiny.yaml", *OWN, "--json")
    run = slurm_desk.only_run()
    job_id = read_json(run.job)["job_id"]
    source = slurm_desk.folder / "own_model.py"
    source.write_text(source.read_text().replace("as submitted", "as edited"))
    subprocess.run(["scontrol", "release", job_id], env=slurm_desk.environment, check=True)
    log = slurm_desk.run("logs", run.name, "--follow").stdout
    assert "as submitted: rank 0 starts" in log


def test_killed_job_is_lost_with_the_state_of_slurm(slurm_desk: Desk) -> None:
    slurm_desk.run("submit", "tiny.yaml", *OWN, "model.args={hang_on_rank: 0}")
    run = slurm_desk.only_run()
    wait_until(lambda: run.log(0).exists() and "hangs" in run.log(0).read_text(), "the training has started")
    victim = re.search(r"process (\d+)", run.log(0).read_text())  # the nodes are on this machine
    assert victim
    os.kill(int(victim[1]), signal.SIGKILL)  # like the kernel when memory runs out
    result = slurm_desk.run("logs", run.name, "--follow")
    assert "[lost] Slurm reports FAILED" in result.stderr
    assert read_json(run.state)["state"] == "running", "derived states are not written"


def test_submit_inside_a_job(slurm_desk: Desk) -> None:
    command = ["srun", "--ntasks=1", "--gpus=2", "--mem=1G", "hpc-dl", "submit", "tiny.yaml", "--wait", "--json"]
    result = subprocess.run(
        command, cwd=slurm_desk.folder, env=slurm_desk.environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["world_size"] == 1


def test_train_in_the_shell_of_an_allocation(slurm_desk: Desk) -> None:
    command = [
        "salloc",
        "--nodes=1",
        "--gpus-per-node=2",
        "--cpus-per-gpu=1",
        "--mem=2G",
        "--",
        "hpc-dl",
        "train",
        "tiny.yaml",
        "--json",
    ]
    result = subprocess.run(
        command, cwd=slurm_desk.folder, env=slurm_desk.environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["world_size"] == 2


def test_pending_job_is_reported_and_cancelled(slurm_desk: Desk) -> None:
    hold(slurm_desk)
    slurm_desk.run("submit", "tiny.yaml")
    run = slurm_desk.only_run()
    facts = slurm_desk.json("status")[0]
    assert (facts["state"], facts["run"]) == ("pending", run.name)
    assert "it is held" in facts["reason"]
    slurm_desk.run("cancel", "latest")
    wait_until(lambda: slurm_desk.json("status")[0]["state"] == "cancelled", "the job is cancelled")


def test_running_job_is_cancelled(slurm_desk: Desk) -> None:
    slurm_desk.run("submit", "tiny.yaml", *OWN, "trainer.max_epochs=1000000")
    run = slurm_desk.only_run()
    wait_until(lambda: slurm_desk.json("status")[0].get("step", 0) > 0, "the training has started")
    assert slurm_desk.json("status")[0]["state"] == "running"
    slurm_desk.run("cancel", run.name)
    wait_until(lambda: slurm_desk.json("status")[0]["state"] == "cancelled", "the job is cancelled", 90)


def test_dry_run_prints_the_submitted_script(slurm_desk: Desk) -> None:
    dry = slurm_desk.run("submit", "tiny.yaml", *FOUR_RANKS, "--dry-run").stdout
    assert not slurm_desk.runs.exists()
    hold(slurm_desk)
    slurm_desk.run("submit", "tiny.yaml", *FOUR_RANKS)
    run = slurm_desk.only_run()
    (sent,) = run.submitit.glob("*_submission.sh")
    assert sent.read_text().replace(run.name, "tiny-xxx") == dry
    slurm_desk.run("cancel", run.name)


@pytest.mark.parametrize(
    ("profile", "override", "messages"),
    [
        ("partition: no-such", "seed=0", ("invalid partition specified: no-such", "to one of: main")),
        ("gpu_type: no-such", "seed=0", ("Requested node configuration is not available", "no node has")),
        ("{}", "resources.memory=100T", ("Memory specification can not be satisfied", "no node has")),
        ("constraint: no-such", "seed=0", ("Invalid feature specification", "sinfo -o %f")),
        ("reservation: no-such", "seed=0", ("reservation is invalid", "scontrol show reservation")),
    ],
)
def test_refused_job_is_explained_and_its_folder_deleted(
    slurm_desk: Desk,
    hpc_dl: HpcDl,
    monkeypatch: pytest.MonkeyPatch,
    profile: str,
    override: str,
    messages: tuple[str, ...],
) -> None:
    for name, value in slurm_desk.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(slurm_desk.folder)
    Path("site.yaml").write_text(profile + "\n")
    result = hpc_dl("submit", "tiny.yaml", override, "data.batch_size=4", "--site", "./site.yaml")
    assert result.status == 2
    for message in messages:
        assert message.lower() in result.err.lower()
    assert list(all_runs(slurm_desk.runs)) == []


def test_plain_sbatch_uses_the_resources_of_the_allocation(slurm_desk: Desk) -> None:
    options = ["--parsable", "--nodes=2", "--gpus-per-node=2", "--mem=1500M", "--cpus-per-gpu=1", "--time=5"]
    script = PROJECT / "slurm" / "train.sbatch"
    # Left over from another job, and passed on by sbatch: ranks would wait for that job's peers.
    left_over = {"MASTER_ADDR": "192.0.2.1", "RANK": "5", "WORLD_SIZE": "64", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    result = subprocess.run(
        ["sbatch", *options, str(script), "tiny.yaml", "--json"],
        cwd=slurm_desk.folder,
        env=slurm_desk.environment | left_over | {"SLURM_HINT": "nomultithread", "SRUN_CPUS_PER_TASK": "99"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    output = slurm_desk.folder / f"hpc-dl-{result.stdout.strip()}.out"
    wait_until(lambda: list(slurm_desk.runs.glob("*/job.json")), "the run has started")
    facts = slurm_desk.json("status")[0]
    assert facts["job"] == f"Slurm job {result.stdout.strip()}"
    wait_until(lambda: slurm_desk.json("status")[0]["state"] != "running", "the run has ended")
    assert read_json(slurm_desk.only_run().result)["world_size"] == 4
    assert "2 nodes × 2 ranks" in output.read_text()


def test_job_that_can_never_start_is_reported(slurm_desk: Desk) -> None:
    # Slurm accepts it, unless EnforcePartLimits is set.
    slurm_desk.run("submit", "tiny.yaml", "resources.time=30-00:00:00")
    wait_until(lambda: "will never start" in slurm_desk.json("status")[0].get("reason", ""), "Slurm gives the reason")
    slurm_desk.run("cancel", "latest")


def test_path_with_blanks_and_special_characters(slurm_desk: Desk) -> None:
    runs = slurm_desk.folder / "a b & $x; (c)"
    assert slurm_desk.json("submit", "tiny.yaml", "--runs", str(runs), "--wait")["state"] == "finished"
