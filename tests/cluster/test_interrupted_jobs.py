"""Jobs on a real Slurm that are interrupted in every possible way, and the state of their runs.

All runs are started together and are slow, so that they are still training when they are
interrupted; each becomes fast when its test releases it. The tests wait for the outcomes, which
develop in parallel.
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

from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.prepare import prepare
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import cancel, status
from hpc_dl.cluster.submit import submit_run
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.regular_files import read_json
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from tests.cluster.conftest import Desk, wait_until
from tests.conftest import PROJECT

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

STEPS = 600  # minutes, or seconds once released
TWO_NODES = {"nodes": 2}
#: More than half of a node's memory: each node runs one such job, and a large job preempts both.
MUCH_MEMORY = {"memory": "40000M"}


@dataclass
class Fleet:
    """The runs, by the name of the interruption."""

    folder: Path
    runs: dict[str, RunFolder]

    def submit(self, name: str, partition: str = "main", **resources: Any) -> RunFolder:
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

    def submit_with_plain_sbatch(self, name: str) -> None:
        (self.folder / "plain.yaml").write_text(yaml.dumps(self.experiment(name).to_dict()))
        options = ["--gpus-per-node=1", "--cpus-per-gpu=1", "--mem=1500M", "--time=10"]
        arguments = ["plain.yaml", "--runs", f"{name}-runs", "--data", os.environ["HPC_DL_DATA"]]
        slurm("sbatch", *options, str(PROJECT / "slurm" / "train.sbatch"), *arguments)
        wait_until(lambda: list((self.folder / f"{name}-runs").glob("*/job.json")), "the run has started", 90)
        (folder,) = (run.path for run in all_runs(self.folder / f"{name}-runs"))
        self.runs[name] = RunFolder(folder)

    def __getitem__(self, name: str) -> RunFolder:
        return self.runs[name]

    def release(self, name: str) -> None:
        """Make the run's steps fast from now on."""
        (self.folder / name).touch()

    def assert_resumes_and_finishes(self, name: str, attempts: int = 2) -> None:
        """Check that the run stops, resumes at that step without help, and finishes."""
        run = self[name]
        wait_until(lambda: len(events(run, "ended")) >= attempts - 1, f"{name}: it has stopped", 120)
        self.release(name)
        wait_until(lambda: read_state(run)["state"] == "finished", f"{name}: it has finished", 90)
        assert read_json(run.result)["steps"] == STEPS
        stops = [line["step"] for line in events(run, "ended")]
        assert [line["from_step"] for line in events(run, "started")] == [0, *stops[:-1]]
        assert [row["step"] for row in read_journal(run.journal) if "train/loss" in row] == list(range(1, STEPS + 1))
        assert not run.cancelled.exists()


def events(run: RunFolder, event: str) -> list[dict[str, Any]]:
    return [entry for entry in history(run) if entry["event"] == event]


def job_id(run: RunFolder) -> str:
    return str(read_json(run.job)["job_id"])


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def wait_for_training(run: RunFolder) -> None:
    wait_until(lambda: read_journal(run.journal), f"{run.name} trains", 90)


def kill_ranks(run: RunFolder, *ranks: int) -> None:
    for rank in ranks:
        processes = re.findall(r"process (\d+)", run.log(rank).read_text())  # the nodes are on this machine
        os.kill(int(processes[-1]), signal.SIGKILL)


@pytest.fixture(scope="module")
def fleet(
    slurm_cluster: dict[str, str], digits_folder: Path, tmp_path_factory: pytest.TempPathFactory, command: Path
) -> Iterator[Fleet]:
    """All runs, training."""
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
        new_fleet = Fleet(folder, {})
        wait_for_training(new_fleet.submit("limit", time=2))
        new_fleet.submit("preempted", partition="preemptible", **MUCH_MEMORY)
        new_fleet.submit("preempted-with-grace", partition="preemptible-grace", **MUCH_MEMORY)
        for name in ("usr2", "twice", "scancel", "cancel", "cancel-in-queue", "requeue", "sigterm"):
            new_fleet.submit(name)
        for name in ("one-killed", "all-killed"):
            new_fleet.submit(name, **TWO_NODES)
        new_fleet.submit_with_plain_sbatch("plain")
        for run in new_fleet.runs.values():
            wait_for_training(run)
        # All interruptions start here, because Slurm needs time for each.
        slurm("sbatch", "--nodes=2", "--ntasks-per-node=1", "--mem=30000M", "--output=/dev/null", "--wrap=true")
        slurm("scontrol", "requeue", job_id(new_fleet["requeue"]))
        slurm("scancel", job_id(new_fleet["scancel"]))
        slurm("scancel", "--signal=TERM", job_id(new_fleet["sigterm"]))
        slurm("scancel", "--signal=USR2", job_id(new_fleet["cancel-in-queue"]))
        slurm("scancel", "--signal=USR2", job_id(new_fleet["plain"]))
        slurm("scancel", "--signal=USR2", job_id(new_fleet["twice"]))
        slurm("scancel", "--signal=USR1", job_id(new_fleet["twice"]))
        cancel(new_fleet["cancel"])
        kill_ranks(new_fleet["one-killed"], 1)
        kill_ranks(new_fleet["all-killed"], 0, 1)
        yield new_fleet
        for run in new_fleet.runs.values():
            subprocess.run(["scancel", "--quiet", job_id(run)], timeout=60)


def test_cancel_of_a_requeued_job(fleet: Fleet) -> None:
    run = fleet["cancel-in-queue"]
    wait_until(lambda: status(run)["state"] == "pending", "it is requeued", 60)
    step = read_state(run)["step"]
    assert f"requeued, will resume at step {step}: " in status(run)["reason"]
    assert cancel(run)
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 90)
    wait_until(lambda: not slurm("squeue", "--noheader", f"--jobs={job_id(run)}"), "its job has left the queue", 90)
    assert cancel(run) is False


def test_logs_follow_a_requeued_run(fleet: Fleet, slurm_desk: Desk) -> None:
    run = fleet["usr2"]
    follower = slurm_desk.start("logs", str(run.path), "--follow")
    slurm("scancel", "--signal=USR2", job_id(run))
    fleet.assert_resumes_and_finishes("usr2")
    out, err = follower.communicate(timeout=300)
    assert follower.returncode == 0
    assert re.search(
        r"\[pending\] requeued, will resume at step \d+: .*\n(.*\n)*\[running\].*\n(.*\n)*\[finished\]", err
    )
    assert "stopped after step" in out and "Finished after" in out


def test_scancel_saves_a_checkpoint_and_cancels(fleet: Fleet) -> None:
    run = fleet["scancel"]
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 60)
    wait_until(run.cancelled.exists, "the cancellation is recorded", 90)
    assert read_json(run.cancelled)["by"] == "scancel"
    assert run.last_checkpoint.exists()
    assert len(events(run, "started")) == 1


def test_hpc_dl_cancel_saves_a_checkpoint_and_cancels(fleet: Fleet) -> None:
    run = fleet["cancel"]
    wait_until(lambda: status(run)["state"] == "cancelled", "it is cancelled", 60)
    wait_until(lambda: events(run, "ended"), "it has stopped", 90)
    assert read_json(run.cancelled)["by"] != "scancel"
    assert run.last_checkpoint.exists()
    assert not run.requeue.exists()


def test_sigterm_stops_the_run_and_status_explains_how_to_resume(fleet: Fleet, slurm_desk: Desk) -> None:
    run = fleet["sigterm"]
    wait_until(lambda: status(run)["state"] == "stopped", "it has stopped", 60)
    assert f"hpc-dl resume {cli_name(run)}" in status(run)["reason"]
    assert not run.cancelled.exists()
    assert "ExitCode=75:0" in slurm("scontrol", "show", "job", job_id(run))
    slurm_desk.run("logs", str(run.path), "--follow", status=75)


def test_run_with_killed_ranks_can_be_resumed(fleet: Fleet) -> None:
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
        assert len(events(run, "started")) == 2


@pytest.mark.parametrize("name", ["twice", "requeue", "preempted", "preempted-with-grace", "limit"])
def test_interrupted_job_is_requeued_and_resumes(fleet: Fleet, name: str) -> None:
    fleet.assert_resumes_and_finishes(name)


def test_requeued_sbatch_script_resumes_in_its_run_folder(fleet: Fleet) -> None:
    fleet.assert_resumes_and_finishes("plain")
    assert [run.name for run in all_runs(fleet.folder / "plain-runs")] == [fleet["plain"].name]


def test_run_survives_a_node_failure(fleet: Fleet) -> None:
    run = fleet.submit("power")
    wait_for_training(run)
    node = slurm("squeue", "--noheader", f"--jobs={job_id(run)}", "--format=%N").strip()
    cluster = [sys.executable, str(PROJECT / "slurm" / "dev-cluster" / "cluster"), "node", node]
    slurm(*cluster, "down")
    slurm(*cluster, "up")
    wait_until(lambda: status(run)["state"] == "pending", "it is requeued", 60)
    fleet.release("power")
    wait_until(lambda: read_state(run)["state"] == "finished", "it has finished", 90)
    assert read_json(run.result)["steps"] == STEPS
    assert len(events(run, "started")) == 2
