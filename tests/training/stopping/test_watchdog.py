"""Ranks that hang, stop or never come: the run ends with the right one's name; one that only is
slow is waited for."""

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
from typing import Any

import pytest

from hpc_dl.cluster.child_processes import Command, Failure, run_together
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.training.stopping.watchdog import Heartbeat, Watchdog, judge
from tests.conftest import PROJECT

TIMEOUT_S = 3.0
HOST = socket.gethostname()

# One rank: a Trainer with a watchdog; what goes wrong is written below it, as the body of a class
# or as a statement.
_RANK = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.strategies import DDPStrategy
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.ranks import Ranks
from hpc_dl.training.stopping.watchdog import Watchdog

torch.set_num_threads(1)
ranks = Ranks.from_environment()
run = RunFolder(Path(sys.argv[1]))
log = os.open(run.log(ranks.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 2)


def mine(rank, batch, at):
    return (ranks.rank, batch) == (rank, at)


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.full((4,), float(index))


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch).square().mean(), sync_dist=True, on_epoch=True, on_step=False)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class Callback(pl.Callback):
    pass


{special}
(run.path / f"ready-{ranks.rank}").touch()  # one that imports torch for longer is not what is tested
while len(list(run.path.glob("ready-*"))) < ranks.world_size:
    time.sleep(0.01)
with Watchdog(run, ranks.rank, ranks.world_size, {timeout_s}) as watchdog:
    trainer = pl.Trainer(
        callbacks=[watchdog, Callback()], max_epochs=2, accelerator="cpu", devices=ranks.world_size,
        strategy=DDPStrategy(timeout=timedelta(seconds=600)) if ranks.world_size > 1 else "auto",
        plugins=[ranks.lightning_environment()], logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(Samples(), batch_size=2)
    trainer.fit(Net(), loader, loader)
assert "watchdog" not in [thread.name for thread in __import__("threading").enumerate()]
os._exit(0)  # a process group that is taken down at exit may abort
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "watched")
    write_state(folder, "running", attempt=0)
    return folder


def train(run: RunFolder, world_size: int, special: str, timeout_s: float = TIMEOUT_S) -> Failure | None:
    """Train with so many ranks, as our launcher would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = _RANK.replace("{special}", special).replace("{timeout_s}", str(timeout_s))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    shared = outside | {
        "PYTHONPATH": str(PROJECT),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    (run.path / "rank.py").write_text(script)
    commands = [
        Command(
            [sys.executable, str(run.path / "rank.py"), str(run.path)],
            shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world_size)
    ]
    return run_together(commands, failure_grace_s=1)


def logs(run: RunFolder) -> str:
    return "\n".join(path.read_text() for path in sorted(run.logs.iterdir()))


_HANGS_IN_A_STEP = """
class Net(Net):
    def training_step(self, batch, batch_idx):
        if mine(1, batch_idx, 2):
            time.sleep(120)
        return super().training_step(batch, batch_idx)
"""
_STOPS = """
class Net(Net):
    def training_step(self, batch, batch_idx):
        if mine(0, batch_idx, 1):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().training_step(batch, batch_idx)
"""
_SAVES_FOR_EVER = """
class Callback(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        if trainer.is_global_zero:
            with watchdog.phase("writing a checkpoint"):
                time.sleep(120)
        torch.distributed.barrier()
"""
_HANGS_IN_THE_VALIDATION = """
class Net(Net):
    def validation_step(self, batch, batch_idx):
        if mine(1, batch_idx, 0):
            time.sleep(120)
        super().validation_step(batch, batch_idx)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("special", "rank", "reason"),
    [
        (
            _HANGS_IN_A_STEP,
            1,
            r"rank 1 on HOST made no progress for 3 s \(in train batch 3 of epoch 1, at rank\.py:\d+ in "
            r"Net\.training_step\); the others wait for it",
        ),
        (
            _STOPS,
            0,
            r"rank 0 on HOST gave no sign of life: stopped, gone, or cut off from the run folder; "
            r"the others wait for it",
        ),
        (
            _SAVES_FOR_EVER,
            0,
            r"rank 0 on HOST made no progress for 3 s \(writing a checkpoint at the end of epoch 1, at rank\.py:\d+ in "
            r"Callback\.on_train_epoch_end\); the others wait for it",
        ),
        (
            _HANGS_IN_THE_VALIDATION,
            1,
            r"rank 1 on HOST made no progress for 3 s \(in validation batch 1 of epoch 1, at rank\.py:\d+ in "
            r"Net\.validation_step\); the others wait for it",
        ),
    ],
    ids=["in-a-step", "stopped", "in-a-phase", "in-the-validation"],
)
def test_the_rank_that_the_others_wait_for_is_named(run: RunFolder, special: str, rank: int, reason: str) -> None:
    failure = train(run, 2, special)
    assert failure and failure.returncode == 1, logs(run)
    state = read_state(run)
    assert (state["state"], state["rank"], state["log"]) == ("failed", rank, str(run.log(rank)))
    assert re.match(f"training: {reason.replace('HOST', re.escape(HOST))}. Look for the cause in ", state["reason"])
    told = logs(run)
    assert state["reason"] in told
    assert "No progress for 3" in told and "innermost call last" in told
    if special != _STOPS:
        assert "time.sleep(120)" in run.log(rank).read_text(), "the stack of the rank that hangs is in its own log"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_without_batches_is_told_as_such(run: RunFolder, workers: int) -> None:
    special = f"""
class Samples(Samples):
    def __getitem__(self, index):
        if index == 6:
            time.sleep(120)
        return super().__getitem__(index)

Loader = torch.utils.data.DataLoader
torch.utils.data.DataLoader = lambda *given, **named: Loader(*given, num_workers={workers}, **named)
"""
    failure = train(run, 1, special, timeout_s=2)
    assert failure and failure.returncode == 1, logs(run)
    wanted = rf"training: rank 0 on {re.escape(HOST)} made no progress for 2 s \((after|in)( \w+)* (train )?batch \d"
    assert re.match(wanted, read_state(run)["reason"])
    assert "its loader gives no batch, at " in read_state(run)["reason"]


@pytest.mark.slow
def test_a_rank_that_is_slow_but_works_is_waited_for(run: RunFolder) -> None:
    # Rank 0 waits at the end of the validation for longer than the timeout.
    special = """
class Net(Net):
    def validation_step(self, batch, batch_idx):
        time.sleep(ranks.rank if self.current_epoch == 0 else 0)
        super().validation_step(batch, batch_idx)
class Samples(Samples):
    def __len__(self):
        return 24
"""
    assert train(run, 2, special) is None, logs(run)
    assert read_state(run)["state"] == "running"
    assert "No progress for 3" in run.log(0).read_text(), "the test does not test what it should"
    assert not run.heartbeats.exists()


_ALONE = """
import sys, time
from pathlib import Path
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping.watchdog import Watchdog

with Watchdog(RunFolder(Path(sys.argv[1])), 0, int(sys.argv[2]), 2.0) as watchdog:
    print("watches", flush=True)
    for _ in range(int(sys.argv[3])):
        with watchdog.phase("working", patience=float(sys.argv[5])):
            time.sleep(float(sys.argv[4]))
"""


def alone(run: RunFolder, world_size: int, steps: int, step_s: float, patience: float = 1.0) -> "subprocess.Popen[str]":
    """One process of so many, which makes steps of so many seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", _ALONE, str(run.path), str(world_size), str(steps), str(step_s), str(patience)],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "MASTER_PORT": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


BEAT = Heartbeat(
    rank=0,
    attempt="this",
    host="n0",
    pid=1,
    beat=1,
    passed=(7, 0),
    place="in train batch 4 of epoch 1",
    activity="at net.py:3 in Net.forward",
    waits=False,
    stalled_s=600.0,
)


@pytest.mark.parametrize("earlier", [None, "earlier"])
def test_a_rank_that_never_comes(run: RunFolder, earlier: str | None) -> None:
    if earlier:  # its heartbeat, of an attempt that was killed, is still there
        run.heartbeats.mkdir()
        replace(BEAT, rank=1, attempt=earlier).write(run.heartbeats)
    with alone(run, 2, 1, step_s=60) as process:
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    state = read_state(run)
    assert state["reason"] in told
    assert state["reason"].startswith(
        "training: rank 1 did not begin to train, or left already; the others wait for it. Look for the cause in"
    )
    assert state["rank"] == 1


def test_the_time_in_which_the_whole_process_is_suspended_does_not_count(run: RunFolder) -> None:
    with alone(run, 1, 2, step_s=1.5) as process:
        assert process.stdout and process.stdout.readline() == "watches\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than the timeout; there is nothing to poll in a stopped process
        process.send_signal(signal.SIGCONT)
        _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    assert read_state(run)["state"] == "running"


@pytest.mark.parametrize(("patience", "status"), [(1.0, 1), (6.0, 0)])
def test_compiling_may_take_longer_than_a_step(run: RunFolder, patience: float, status: int) -> None:
    with alone(run, 1, 1, step_s=5.0, patience=patience) as process:
        process.communicate(timeout=120)
    assert process.returncode == status


def test_without_a_timeout_nothing_is_started_or_written(run: RunFolder) -> None:
    before = threading.active_count()
    with Watchdog(run, 0, 2, None) as watchdog, watchdog.phase("loading"):
        assert threading.active_count() == before
        assert not run.heartbeats.exists()


def verdict(*now: dict[str, Any] | None, before: dict[int, Heartbeat | None] | None = None) -> str:
    """The words of a judgment on ranks that differ so from one that hangs."""
    later = {
        rank: None if changes is None else replace(BEAT, rank=rank, host=f"n{rank}", beat=2, **changes)
        for rank, changes in enumerate(now)
    }
    earlier = {rank: replace(beat, beat=1) if beat else None for rank, beat in later.items()} | (before or {})
    found = judge(earlier, later, 600.0)
    return f"{found[0]}: {found[1]}" if found else ""


def test_judgments() -> None:
    step, ahead = "(in train batch 4 of epoch 1, at net.py:3 in Net.forward)", {"passed": (7, 1)}
    assert verdict({}) == f"0: rank 0 on n0 made no progress for 10 min {step}"
    assert verdict(ahead, {}) == f"1: rank 1 on n1 made no progress for 10 min {step}; the others wait for it"
    assert verdict({}, {}) == f"0: no rank made progress for 10 min {step}"
    # Who waits for others is not to blame, unless all do
    assert verdict({"waits": True}, {}, ahead).startswith("1: rank 1 on n1 made no progress")
    assert verdict({"waits": True}, {"waits": True}).startswith("0: no rank made progress")
    several = verdict(ahead, {}, {}, {}, {}, {}, {})
    assert several.startswith("1: rank 1 on n1, rank 2 on n2, rank 3 on n3, rank 4 on n4 and 2 more made no progress")
    assert several.endswith("; the others wait for them")
    # A rank that is behind but has not been stuck for long is given its time
    assert verdict(ahead, {"stalled_s": 30.0}) == ""
    # A rank that has just left is given time to be missed
    assert verdict(ahead, None, before={1: BEAT}) == ""
    # Numbers, not words: batch 10 comes after batch 9
    assert verdict({"passed": (10, 0)}, {"passed": (9, 5)}).startswith("1: ")


def test_judgments_of_silent_ranks() -> None:
    gone = replace(BEAT, rank=1, host="n1", beat=2, passed=(9, 0))
    assert verdict({}, {"passed": (9, 0)}, before={1: gone}) == (
        "1: rank 1 on n1 gave no sign of life: stopped, gone, or cut off from the run folder; the others wait for it"
    )
    assert (
        verdict({}, None, None)
        == "1: rank 1 and rank 2 did not begin to train, or left already; the others wait for them"
    )
    # Who works elsewhere does not wait
    assert verdict({}, None, {"stalled_s": 1.0}) == "1: rank 1 did not begin to train, or left already"


def test_a_damaged_or_old_heartbeat_is_none(tmp_path: Path) -> None:
    assert Heartbeat.read(tmp_path, 0, "this") is None
    BEAT.write(tmp_path)
    assert Heartbeat.read(tmp_path, 0, "this") == BEAT
    assert Heartbeat.read(tmp_path, 0, "another") is None
    for damage in ('{"rank": 0}', "[]", "", '{"rank"'):
        (tmp_path / "rank-0.json").write_text(damage)
        assert Heartbeat.read(tmp_path, 0, "this") is None
    assert [path.name for path in tmp_path.iterdir()] == ["rank-0.json"]
