"""Ranks without Slurm, and what an allocation of Slurm decides."""

import re
import signal
import time

import psutil
import pytest

from hpc_dl.cluster.launch import allocation_overrides
from hpc_dl.errors import ClusterError
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from tests.cluster.conftest import Desk, wait_until

TWO_RANKS = ("tiny.yaml", "resources.gpus_per_node=2")
OWN = ("model={class: own_model.Own}", "optimizer={}")


def ranks_of(desk: Desk) -> list[psutil.Process]:
    """Live processes of the desk's runs."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = any(str(desk.runs) in word for word in process.cmdline())
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_two_ranks_train_together(desk: Desk) -> None:
    outcome = desk.json("train", *TWO_RANKS)
    assert (outcome["state"], outcome["world_size"]) == ("finished", 2)
    run = desk.only_run()
    assert re.search(r"^=== .* rank 1 on ", run.log(1).read_text(), re.MULTILINE)
    assert "Finished after" in run.log(0).read_text()
    assert ranks_of(desk) == []


@pytest.mark.slow
def test_a_failing_rank_ends_the_other_and_is_named(desk: Desk) -> None:
    began = time.monotonic()
    outcome = desk.json("train", *TWO_RANKS, *OWN, "model.args={fail_on_rank: 1, hang_on_rank: 0}", status=1)
    assert time.monotonic() - began < 60, "the other rank sleeps for ten minutes"
    assert (outcome["state"], outcome["rank"], outcome["reason"]) == ("failed", 1, "RuntimeError: deliberate")
    assert "RuntimeError: deliberate" in desk.only_run().log(1).read_text()
    assert ranks_of(desk) == []


@pytest.mark.slow
def test_a_killed_rank_is_told_by_the_launcher(desk: Desk) -> None:
    launcher = desk.start("train", *TWO_RANKS, *OWN, "model.args={hang_on_rank: 1}", "--json")
    wait_until(lambda: list(desk.runs.glob("*/logs/rank-1.log")), "rank 1 has begun")
    run = desk.only_run()
    wait_until(lambda: "hangs" in run.log(1).read_text(), "rank 1 hangs")
    victim = re.search(r"process (\d+)", run.log(1).read_text())
    assert victim
    psutil.Process(int(victim[1])).kill()
    launcher.communicate(timeout=30)
    assert launcher.returncode == 1
    facts = desk.json("status", "latest")[0]
    assert (facts["state"], facts["rank"]) == ("failed", 1)
    assert "rank 1 was killed by SIGKILL" in facts["reason"]
    assert ranks_of(desk) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "sent", "status", "state"),
    [
        (1, [signal.SIGINT], 75, "stopped"),
        (1, [signal.SIGUSR1], 75, "stopped"),
        (2, [signal.SIGTERM], 75, "stopped"),
        (2, [signal.SIGUSR2, signal.SIGINT], 75, "stopped"),
        (2, [signal.SIGINT, signal.SIGINT], 130, "cancelled"),
    ],
)
def test_signals_stop_a_training_with_a_checkpoint(
    desk: Desk, ranks: int, sent: list[signal.Signals], status: int, state: str
) -> None:
    slow = (
        "model.args={slow_until: never}",
        "trainer.limit_train_batches=1.0",
        "trainer.max_epochs=1000",
        "trainer.log_every_n_steps=1",
    )
    training = desk.start("train", "tiny.yaml", *OWN, *slow, f"resources.gpus_per_node={ranks}")
    wait_until(lambda: list(desk.runs.glob("*/logs/*")) or list(desk.runs.glob("*/journal/*")), "it has begun")
    run = desk.only_run()
    wait_until(lambda: read_journal(run.journal), "it trains")
    for number in sent:
        training.send_signal(number)
        time.sleep(0.06)  # the launcher looks every 0.05 s; two of the same at once are one
    told = training.communicate(timeout=60)[1]
    assert training.returncode == status
    assert read_state(run)["state"] == state
    assert desk.json("status", run.name)[0]["state"] == state
    assert ranks_of(desk) == []
    if state == "stopped":
        assert run.last_checkpoint.exists()
        assert f"continue it with `hpc-dl resume {run.name}`" in told and "Traceback" not in told


@pytest.mark.slow
def test_several_nodes_need_slurm(desk: Desk) -> None:
    done = desk.run("train", "tiny.yaml", "resources.nodes=2", status=2)
    assert "several nodes can only be reached inside a Slurm job" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_allocation_decides_nothing() -> None:
    assert allocation_overrides({}) == []


@pytest.mark.parametrize(
    ("environment", "overrides"),
    [
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_ON_NODE": "32"}, ["gpus_per_node=4", "cpus_per_gpu=8"]),
        ({"SLURM_GPUS_PER_NODE": "a100:2", "SLURM_CPUS_ON_NODE": "2"}, ["gpus_per_node=2", "cpus_per_gpu=1"]),
        ({"SLURM_CPUS_ON_NODE": "6"}, ["gpus_per_node=0", "cpus_per_gpu=6"]),
        ({"SLURM_MEM_PER_NODE": "2048"}, ["gpus_per_node=0", "memory=2048M"]),
    ],
)
def test_an_allocation_decides_the_resources(
    environment: dict[str, str], overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}
    assert allocation_overrides(job | environment) == [f"resources.{o}" for o in ("nodes=2", *overrides)]
    # In an interactive step (srun --pty) only one node can be reached, in an salloc shell all of
    # them.
    assert allocation_overrides(job | environment | {"SLURM_STEP_ID": "0"})[0] == "resources.nodes=1"
    assert allocation_overrides(job | environment | {"SLURM_STEP_ID": str(0xFFFFFFFA)})[0] == "resources.nodes=2"


def test_too_few_cpus_are_told_before_srun_would() -> None:
    with pytest.raises(ClusterError, match="1 CPU cores on this node, fewer than its 2 GPUs"):
        allocation_overrides({"SLURM_JOB_ID": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "1"})


def test_srun_around_train_is_refused() -> None:
    with pytest.raises(ClusterError, match="Run hpc-dl train without srun"):
        allocation_overrides({"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"})
