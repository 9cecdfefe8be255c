"""Ranks that hang, stop or never start end the run, which names them; slow ranks do not."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpc_dl.cluster.child_processes import Command, Failure, run_together
from hpc_dl.cluster.rendezvous_port import free_port
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.training.stopping.watchdog import Watchdog
from tests.conftest import PROJECT
from tests.training.stopping.test_stall_verdict import HEARTBEAT

pytestmark = pytest.mark.slow

TIMEOUT_S = 3.0
HOST = socket.gethostname()
SCRIPTS = Path(__file__).parent


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "watched")
    write_state(folder, "running", attempt=0)
    return folder


def train(run: RunFolder, world_size: int, failure: str, timeout_s: float = TIMEOUT_S) -> Failure | None:
    """Train with a number of ranks, as our launcher would."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    shared = outside | {
        "PYTHONPATH": str(PROJECT),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    script = str(SCRIPTS / "watched_rank.py")
    commands = [
        Command(
            [sys.executable, script, str(run.path), failure, str(timeout_s)],
            shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world_size)
    ]
    return run_together(commands, failure_grace_s=1)


def logs(run: RunFolder) -> str:
    return "\n".join(path.read_text() for path in sorted(run.logs.iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "rank", "reason"),
    [
        (
            "hangs-in-step",
            1,
            r"rank 1 on HOST made no progress for 3\.0 s \(in train batch 3 of epoch 1, at watched_rank\.py:\d+ in "
            r"HangsInStep\.training_step\); the others wait for it",
        ),
        (
            "stops-in-step",
            0,
            r"rank 0 on HOST wrote no heartbeat: stopped, ended, or cut off from the run folder; "
            r"the others wait for it",
        ),
        (
            "hangs-in-phase",
            0,
            r"rank 0 on HOST made no progress for 3\.0 s \(writing a checkpoint at the end of epoch 1, "
            r"at watched_rank\.py:\d+ in HangsInPhase\.on_train_epoch_end\); the others wait for it",
        ),
        (
            "hangs-in-validation",
            1,
            r"rank 1 on HOST made no progress for 3\.0 s \(in validation batch 1 of epoch 1, at watched_rank\.py:\d+ "
            r"in HangsInValidation\.validation_step\); the others wait for it",
        ),
    ],
)
def test_stalled_rank_is_named(run: RunFolder, failure: str, rank: int, reason: str) -> None:
    ended = train(run, 2, failure)
    assert ended and ended.returncode == 1, logs(run)
    state = read_state(run)
    assert "rank" in state, logs(run)
    assert (state["state"], state["rank"], state["log"]) == ("failed", rank, str(run.log(rank)))
    assert re.match(f"training: {reason.replace('HOST', re.escape(HOST))}. Look for the cause in ", state["reason"])
    output = logs(run)
    assert state["reason"] in output
    assert "No progress for 3" in output and "innermost call last" in output
    if failure != "stops-in-step":
        assert "time.sleep(HANG_S)" in run.log(rank).read_text(), "the stack of the stalled rank is in its log"


@pytest.mark.parametrize("failure", ["loader-hangs", "worker-hangs"])
def test_hanging_data_loader_is_named(run: RunFolder, failure: str) -> None:
    ended = train(run, 1, failure, timeout_s=2)
    assert ended and ended.returncode == 1, logs(run)
    expected = (
        rf"training: rank 0 on {re.escape(HOST)} made no progress for 2\.0 s \((after|in)( \w+)* (train )?batch \d"
    )
    assert re.match(expected, read_state(run)["reason"])
    assert "its data loader returns no batch, at " in read_state(run)["reason"]


@pytest.mark.slow
def test_slow_rank_is_waited_for(run: RunFolder) -> None:
    assert train(run, 2, "slow-in-validation") is None, logs(run)
    assert read_state(run)["state"] == "running"
    assert "No progress for 3" in run.log(0).read_text(), "no rank waited for longer than the timeout"
    assert not run.heartbeats.exists()


def watched_process(
    run: RunFolder, world_size: int, steps: int, step_s: float, patience: float = 1.0
) -> "subprocess.Popen[str]":
    """Start rank 0 of a number of ranks, which makes steps of a given length."""
    arguments = [str(run.path), str(world_size), str(steps), str(step_s), str(patience)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / "watched_process.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "MASTER_PORT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("earlier_attempt", [None, "earlier"])
def test_rank_that_never_starts_is_named(run: RunFolder, earlier_attempt: str | None) -> None:
    if earlier_attempt:  # that was killed, and has left the rank's heartbeat
        run.heartbeats.mkdir()
        replace(HEARTBEAT, rank=1, attempt=earlier_attempt).write(run.heartbeats)
    with watched_process(run, 2, 1, step_s=60) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    state = read_state(run)
    assert state["reason"] in errors
    assert state["reason"].startswith(
        "training: rank 1 did not start to train, or ended already; the others wait for it. Look for the cause in"
    )
    assert state["rank"] == 1


def test_time_of_a_suspended_process_does_not_count(run: RunFolder) -> None:
    with watched_process(run, 1, 2, step_s=1.5) as process:
        assert process.stdout and process.stdout.readline() == "watching\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than the timeout; there is nothing to poll in a stopped process
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert read_state(run)["state"] == "running"


@pytest.mark.parametrize(("patience", "status"), [(1.0, 1), (6.0, 0)])
def test_patient_phase_may_take_longer(run: RunFolder, patience: float, status: int) -> None:
    with watched_process(run, 1, 1, step_s=5.0, patience=patience) as process:
        process.communicate(timeout=300)
    assert process.returncode == status


def test_without_timeout_nothing_is_started_or_written(run: RunFolder) -> None:
    before = threading.active_count()
    with Watchdog(run, 0, 2, None) as watchdog, watchdog.phase("loading"):
        assert threading.active_count() == before
        assert not run.heartbeats.exists()
