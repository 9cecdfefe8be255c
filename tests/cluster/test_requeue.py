"""Jobs that are interrupted in every way that Slurm knows, and what becomes of their runs.

All runs are begun at once and are slow, so that whatever happens meets them at work; each becomes
fast when its test releases it. The tests then wait for what went on at the same time.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import read_json
from hpc_dl.cluster.prepare import prepare
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import cancel, status
from hpc_dl.cluster.submit import submit_run
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from tests.cluster.conftest import Desk, wait_until
from tests.conftest import PROJECT

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

STEPS = 600  # minutes, or seconds once released
TWO_NODES = {"nodes": 2}
#: More than half of a node's, so that each node has one such job, and a big one on both nodes
#: pushes both out.
MUCH_MEMORY = {"memory": "40000M"}


@dataclass
class Fleet:
    """Runs by the name of what happens to them."""

    folder: Path
    runs: dict[str, RunFolder]

    def begin(self, name: str, partition: str = "main", **resources: Any) -> RunFolder:
        experiment = self.experiment(name, **resources)
        run = prepare(experiment, runs=self.folder / "runs", data_dir=None, command=["test"], say=lambda line: None)
        submit_run(run, experiment, SiteProfile(partition=partition))
        self.runs[name] = run
        return run

    def experiment(self, name: str, **resources: Any) -> Experiment:
        return Experiment.from_dict(
            {
                "name": name,
                "data": {"source": "digits", "batch_size": 32},
                "model": {"class": "own_model.Own", "args": {"slow_until": str(self.folder / name)}},
                "trainer": {
                    "max_steps": STEPS,
                    "check_val_every_n_epoch": 10,
                    "limit_val_batches": 1,
                    "limit_test_batches": 1,
                    "log_every_n_steps": 1,
                },
                "resources": {"gpus_per_node": 0, "cpus_per_gpu": 1, "memory": "1500M", "time": 10, **resources},
                "wandb": {"mode": "disabled"},
            }
        )

    def begin_with_plain_sbatch(self, name: str) -> None:
        (self.folder / "plain.yaml").write_text(yaml.dumps(self.experiment(name).to_dict()))
        options = ["--gpus-per-node=1", "--cpus-per-gpu=1", "--mem=1500M", "--time=10"]
        words = ["plain.yaml", "--runs", f"{name}-runs", "--data", os.environ["HPC_DL_DATA"]]
        slurm("sbatch", *options, str(PROJECT / "slurm" / "train.sbatch"), *words)
        wait_until(lambda: list((self.folder / f"{name}-runs").glob("*/job.json")), "it has begun", 90)
        (folder,) = (self.folder / f"{name}-runs").iterdir()
        self.runs[name] = RunFolder(folder)

    def __getitem__(self, name: str) -> RunFolder:
        return self.runs[name]

    def release(self, name: str) -> None:
        """From now on the run's steps take no time."""
        (self.folder / name).touch()

    def finishes_after(self, name: str, attempts: int = 2) -> None:
        """The run stops, goes on exactly there by itself, and finishes."""
        run = self[name]
        wait_until(lambda: len(of(run, "ended")) >= attempts - 1, f"{name}: it has stopped", 120)
        self.release(name)
        wait_until(lambda: read_state(run)["state"] == "finished", f"{name}: it has finished", 90)
        assert read_json(run.result)["steps"] == STEPS
        stops = [line["step"] for line in of(run, "ended")]
        assert [line["from_step"] for line in of(run, "started")] == [0, *stops[:-1]]
        assert [row["step"] for row in read_journal(run.journal) if "train/loss" in row] == list(range(1, STEPS + 1))
        assert not run.cancelled.exists()


def of(run: RunFolder, event: str) -> list[dict[str, Any]]:
    return [line for line in history(run) if line["event"] == event]


def job_id(run: RunFolder) -> str:
    return str(read_json(run.job)["job_id"])


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def wait_for_training(run: RunFolder) -> None:
    wait_until(lambda: read_journal(run.journal), f"{run.name} trains", 90)


def kill_ranks(run: RunFolder, *ranks: int) -> None:
    for rank in ranks:
        found = re.findall(r"process (\d+)", run.log(rank).read_text())  # the nodes are on this machine
        os.kill(int(found[-1]), signal.SIGKILL)


@pytest.fixture(scope="module")
def fleet(
    slurm_cluster: dict[str, str], digits_folder: Path, tmp_path_factory: pytest.TempPathFactory, command: Path
) -> Iterator[Fleet]:
    """All runs, at work."""
    folder = tmp_path_factory.mktemp("fleet")
    shutil.copy(Path(__file__).parent / "own_model.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("HPC_DL_DATA", str(digits_folder))
        patch.setenv("PATH", f"{command}:{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(PROJECT))
        for name, value in slurm_cluster.items():
            patch.setenv(name, value)
        made = Fleet(folder, {})
        wait_for_training(made.begin("limit", time=2))
        made.begin("preempted", partition="preemptible", **MUCH_MEMORY)
        made.begin("preempted-with-grace", partition="preemptible-grace", **MUCH_MEMORY)
        for name in ("usr2", "twice", "scancel", "cancel", "cancel-in-queue", "requeue", "sigterm"):
            made.begin(name)
        for name in ("one-killed", "all-killed"):
            made.begin(name, **TWO_NODES)
        made.begin_with_plain_sbatch("plain")
        for run in made.runs.values():
            wait_for_training(run)
        # What Slurm does takes its time, so all of it begins here.
        slurm("sbatch", "--nodes=2", "--ntasks-per-node=1", "--mem=30000M", "--output=/dev/null", "--wrap=true")
        slurm("scontrol", "requeue", job_id(made["requeue"]))
        slurm("scancel", job_id(made["scancel"]))
        slurm("scancel", "--signal=TERM", job_id(made["sigterm"]))
        slurm("scancel", "--signal=USR2", job_id(made["cancel-in-queue"]))
        slurm("scancel", "--signal=USR2", job_id(made["plain"]))
        slurm("scancel", "--signal=USR2", job_id(made["twice"]))
        slurm("scancel", "--signal=USR1", job_id(made["twice"]))
        cancel(made["cancel"])
        kill_ranks(made["one-killed"], 1)
        kill_ranks(made["all-killed"], 0, 1)
        yield made
        for run in made.runs.values():
            subprocess.run(["scancel", "--quiet", job_id(run)], timeout=60)


def test_cancel_during_a_pending_requeue(fleet: Fleet) -> None:
    run = fleet["cancel-in-queue"]
    wait_until(lambda: status(run)["state"] == "pending", "it is requeued", 60)
    step = read_state(run)["step"]
    assert f"requeued, goes on at step {step}: " in status(run)["reason"]
    assert cancel(run)
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 30)
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={job_id(run)}"), "its job is gone", 30)
    assert cancel(run) is False


def test_followers_go_on_through_a_requeue(fleet: Fleet, slurm_desk: Desk) -> None:
    run = fleet["usr2"]
    follower = slurm_desk.start("logs", str(run.path), "--follow")
    slurm("scancel", "--signal=USR2", job_id(run))
    fleet.finishes_after("usr2")
    out, told = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert re.search(r"\[pending\] requeued, goes on at step \d+: .*\n(.*\n)*\[running\].*\n(.*\n)*\[finished\]", told)
    assert "stopped after step" in out and "Finished after" in out


def test_scancel_is_a_cancellation_with_a_checkpoint(fleet: Fleet) -> None:
    run = fleet["scancel"]
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 60)
    wait_until(run.cancelled.exists, "that is written down", 30)
    assert read_json(run.cancelled)["by"] == "scancel"
    assert run.last_checkpoint.exists()
    assert len(of(run, "started")) == 1


def test_our_cancel_is_one_too(fleet: Fleet) -> None:
    run = fleet["cancel"]
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 60)
    wait_until(lambda: of(run, "ended"), "it has stopped", 30)
    assert read_json(run.cancelled)["by"] != "scancel"
    assert run.last_checkpoint.exists()
    assert not run.requeue.exists()


def test_a_bare_sigterm_stops_and_tells_how_to_go_on(fleet: Fleet, slurm_desk: Desk) -> None:
    run = fleet["sigterm"]
    wait_until(lambda: status(run)["state"] == "stopped", "it has stopped", 60)
    assert f"hpc-dl resume {run.word}" in status(run)["reason"]
    assert not run.cancelled.exists()
    assert "ExitCode=75:0" in slurm("scontrol", "show", "job", job_id(run))
    slurm_desk.run("logs", str(run.path), "--follow", status=75)


def test_killed_ranks_fail_the_job_and_the_run_can_go_on(fleet: Fleet) -> None:
    names = ("one-killed", "all-killed")
    for name in names:
        wait_until(lambda: status(fleet[name])["state"] in ("failed", "lost"), f"{name}: it has failed", 90)  # noqa: B023
        assert f"hpc-dl resume {fleet[name].name}" in status(fleet[name])["reason"]
        assert not fleet[name].cancelled.exists()
        fleet.release(name)
        submit_run(fleet[name], fleet.experiment(name, **TWO_NODES), SiteProfile(partition="main"))
    for name in names:
        run = fleet[name]
        wait_until(lambda: read_state(run)["state"] == "finished", f"{name}: it has finished", 90)  # noqa: B023
        assert read_json(run.result)["steps"] == STEPS
        assert len(of(run, "started")) == 2


@pytest.mark.parametrize("name", ["twice", "requeue", "preempted", "preempted-with-grace", "limit"])
def test_an_interrupted_job_is_requeued_and_goes_on(fleet: Fleet, name: str) -> None:
    fleet.finishes_after(name)


def test_plain_sbatch_goes_on_in_the_folder_of_its_first_start(fleet: Fleet) -> None:
    fleet.finishes_after("plain")
    assert [path.name for path in (fleet.folder / "plain-runs").iterdir()] == [fleet["plain"].name]


def test_a_node_without_power_is_no_end(fleet: Fleet) -> None:
    run = fleet.begin("power")
    wait_for_training(run)
    node = slurm("squeue", "--noheader", f"--jobs={job_id(run)}", "--format=%N").strip()
    cluster = [sys.executable, str(PROJECT / "slurm" / "dev-cluster" / "cluster"), "node", node]
    slurm(*cluster, "down")
    slurm(*cluster, "up")
    wait_until(lambda: status(run)["state"] == "pending", "it is requeued", 60)
    fleet.release("power")
    wait_until(lambda: read_state(run)["state"] == "finished", "it has finished", 90)
    assert read_json(run.result)["steps"] == STEPS
    assert len(of(run, "started")) == 2
