"""Attempts that end without a warning, damaged files, full disks: a bounded loss, nothing wrong,
nothing in silence."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import read_json
from hpc_dl.cluster.rank_process import run_rank
from hpc_dl.errors import Stopped
from hpc_dl.runs import attempts as history
from hpc_dl.runs import lock
from hpc_dl.runs.checkpoints import listed, problem_of
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.training.train import train
from tests import experiments
from tests.training.attempts import (
    WAIT_S,
    Stop,
    attempt,
    done,
    finish,
    kill,
    output,
    signals_of_this_process,
    start,
    wait,
)

EVERY = 3
CNN: dict[str, Any] = {
    "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup_steps": 5},
    "trainer": {"max_epochs": 2, "log_every_n_steps": 2, "val_check_interval": 10},
    "checkpoint": {"every": f"{EVERY} steps"},
}
BATCHES, STEPS = 24, 48


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiments.classification_file(tmp_path_factory.mktemp("many"), {"train": 192, "val": 29, "test": 27})


@pytest.fixture(scope="module")
def reference(file: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nothing happened to."""
    return finish(experiments.prepared(tmp_path_factory.mktemp("reference"), experiments.raw(file, **CNN)))


@pytest.fixture
def run(tmp_path: Path, file: Path) -> RunFolder:
    return experiments.prepared(tmp_path, experiments.raw(file, **CNN))


def killed(run: RunFolder, stop: Stop) -> None:
    assert wait(start(run, stop)) == -signal.SIGKILL, output(run)


# --- SIGKILL ------------------------------------------------------------------------------------


def test_killed_at_arbitrary_points(run: RunFolder, reference: RunFolder) -> None:
    draw = random.Random(11)
    hooks = ("on_train_batch_start", "on_train_batch_end", "on_train_batch_end", "on_validation_batch_end")
    for step in sorted(draw.sample(range(2, STEPS), 5)):
        if step < done(run):
            continue
        before = len(history.history(run))
        stop = Stop(step, draw.choice(hooks if step < 30 else hooks[:3]), numbers=(signal.SIGKILL,))
        killed(run, stop)
        reached = max(row["step"] for row in _raw_rows(run))
        assert done(run) >= reached - EVERY, f"more than {EVERY} steps are lost at {stop}"
        assert [line["event"] for line in history.history(run)[before:]] == ["started"]
        assert read_state(run)["state"] == "running"
    assert wait(start(run)) == 0, output(run)
    assert differences(run, reference) == []


def _raw_rows(run: RunFolder) -> list[dict[str, Any]]:
    newest = max(run.journal.glob("*.jsonl"))
    return [row for line in newest.read_text().splitlines() if "step" in (row := json.loads(line))] or [{"step": 0}]


@pytest.mark.slow
def test_killed_at_arbitrary_times(run: RunFolder, reference: RunFolder) -> None:
    draw = random.Random(12)
    kills = 0
    for _ in range(8):
        begun = len(list(run.journal.glob("*.jsonl")))
        processes = start(run)
        while len(list(run.journal.glob("*.jsonl"))) == begun and not _ended(processes):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        if _ended(processes):
            break
        kill(processes)
        kills += 1
    assert kills >= 3, "it was over too soon"
    assert wait(start(run)) == 0, output(run)
    assert differences(run, reference) == []


def _ended(processes: list[Any]) -> bool:
    """Ended by themselves."""
    return any(process.exitcode is not None for process in processes)


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(tmp_path: Path, file: Path) -> None:
    # Large enough that a write takes a while.
    large = {"model": {"name": "mlp", "width": 1500, "depth": 2}, "trainer": {"max_epochs": 1, "log_every_n_steps": 2}}
    sections = CNN | large | {"checkpoint": {"every": "4 steps"}}
    reference = finish(experiments.prepared(tmp_path, experiments.raw(file, **sections)))
    run = experiments.prepared(tmp_path, experiments.raw(file, **sections))
    draw = random.Random(13)
    inside = 0
    for number in range(5):
        left = _temporary(run)
        processes = start(run)
        while not _temporary(run) - left and not _ended(processes):
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.02) if number % 2 else 0)
        assert not _ended(processes), output(run)
        kill(processes)
        inside += bool(_temporary(run) - left)
        newest = listed(run.checkpoints, "step")
        assert not newest or problem_of(newest[-1]) == ""
    assert inside >= 2, "no kill came in the middle of a write"
    assert wait(start(run)) == 0, output(run)
    assert list(run.checkpoints.glob(".*")) == [], "temporary files of the lost attempts"
    assert differences(run, reference) == []


def _temporary(run: RunFolder) -> set[str]:
    """Checkpoints that are being written, or whose writer was killed."""
    return {path.name for path in run.checkpoints.glob(".step-*.tmp")}


@pytest.mark.slow
def test_two_ranks_killed_one_after_the_other(tmp_path: Path, file: Path) -> None:
    two = {"data": {"batch_size": 4}, "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1}}
    sections = CNN | two | {"trainer": CNN["trainer"] | {"accelerator": "cpu"}}
    reference, run = (experiments.prepared(tmp_path, experiments.raw(file, **sections)) for _ in range(2))
    assert wait(start(reference)) == 0, output(reference)
    for rank, step in ((1, 8), (0, 23)):
        processes = start(run, Stop(step, rank=rank, numbers=(signal.SIGKILL,)))
        processes[rank].join(WAIT_S)
        assert processes[rank].exitcode == -signal.SIGKILL
        kill(processes)
        assert done(run) >= step - EVERY
    assert wait(start(run)) == 0, output(run)
    assert differences(run, reference) == []


# --- damaged files ------------------------------------------------------------------------------


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_a_damaged_newest_checkpoint(run: RunFolder, reference: RunFolder, damage: Callable[[Path], None]) -> None:
    assert attempt(run, Stop(26)) == Stopped.exit_status
    older, newest = listed(run.checkpoints, "step")
    assert (older.step, newest.step) == (24, 26)
    damage(newest.path)
    finish(run)
    assert history.history(run)[2]["from_step"] == 24
    log = run.log(0).read_text()
    assert f"{newest.path} is damaged" in log and "the previous one is used" in log
    assert (run.checkpoints / "step-00000026.ckpt.damaged").exists()
    assert differences(run, reference) == []


@pytest.mark.parametrize("checksum", [None, b"", b"garbage\xff\n"])
def test_a_checksum_that_is_gone_or_garbage_costs_nothing(
    run: RunFolder, reference: RunFolder, checksum: bytes | None
) -> None:
    assert attempt(run, Stop(26)) == Stopped.exit_status
    newest = listed(run.checkpoints, "step")[-1]
    if checksum is None:
        newest.checksum_file.unlink()
    else:
        newest.checksum_file.write_bytes(checksum)
    finish(run)
    assert history.history(run)[2]["from_step"] == 26
    assert differences(run, reference) == []


def test_when_all_checkpoints_are_damaged_it_begins_anew_and_says_so(run: RunFolder, reference: RunFolder) -> None:
    assert attempt(run, Stop(26)) == Stopped.exit_status
    for checkpoint in listed(run.checkpoints, "step"):
        flip(checkpoint.path)
    finish(run)
    assert history.history(run)[2]["from_step"] == 0
    log = run.log(0).read_text()
    assert log.count("is damaged") == 2 and "there is no other: the training starts over" in log
    assert {path.name for path in run.checkpoints.glob("*.damaged")} == {
        "step-00000024.ckpt.damaged", "step-00000026.ckpt.damaged"
    }  # fmt: skip
    assert differences(run, reference) == []


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_damaged_best_weights_are_not_tested_in_silence(run: RunFolder, damage: Callable[[Path], None]) -> None:
    # After the last validation nothing will replace them.
    assert attempt(run, Stop(STEPS, "on_test_batch_start")) == Stopped.exit_status
    best = listed(run.checkpoints, "best")[-1]
    damage(best.path)
    with pytest.raises(Exception, match=best.path.name):
        finish(run)
    assert read_state(run)["state"] == "failed"
    assert best.path.name in read_state(run)["reason"]
    assert read_json(run.result) is None


# --- disks --------------------------------------------------------------------------------------


@contextmanager
def disk_of_its_own(folder: Path, size: str = "1m") -> Iterator[Callable[[str], None]]:
    """A small real file system in this place; gives what mounts it again with other options."""

    def mount(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")

    mount("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield lambda options: mount("mount", "-o", f"remount,{options}", str(folder))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not a byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


@contextmanager
def on_signals(actions: dict[int, Callable[[], None]]) -> Iterator[None]:
    """What happens to the disk at a point that a Stop names."""
    before = {number: signal.signal(number, lambda n, _: actions[n]()) for number in actions}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FULL, ROOM = signal.SIGHUP, signal.SIGWINCH


def test_a_full_disk_at_a_periodic_checkpoint_is_told_and_survived(run: RunFolder, reference: RunFolder) -> None:
    with disk_of_its_own(run.checkpoints):
        actions = {
            FULL: lambda: (fill(run.checkpoints), None)[1],
            ROOM: lambda: (run.checkpoints / "filler").unlink(),
        }
        seen: list[int] = []
        with on_signals(actions | {signal.SIGPROF: lambda: seen.append(done(run))}):
            stops = (
                Stop(13, numbers=(FULL,)), Stop(17, numbers=(signal.SIGPROF, ROOM)), Stop(19, numbers=(signal.SIGPROF,))
            )  # fmt: skip
            assert attempt(run, *stops) == 0
        log = run.log(0).read_text()
        assert "The checkpoint of step 15 could not be written (" in log
        assert "No space left on device" in log and "training goes on" in log
        assert seen[0] == 12, "the last one that fitted is kept"
        assert seen[1] >= 17, "the next one was written as soon as there was room"
        assert list(run.checkpoints.glob(".*.tmp")) == []
        assert differences(run, reference) == []


def test_the_best_weights_of_a_full_disk_are_written_when_there_is_room(run: RunFolder, reference: RunFolder) -> None:
    with disk_of_its_own(run.checkpoints):
        actions = {
            FULL: lambda: (fill(run.checkpoints), None)[1],
            ROOM: lambda: (run.checkpoints / "filler").unlink(),
        }
        with on_signals(actions):
            stops = Stop(10, "on_train_batch_end", numbers=(FULL,)), Stop(11, numbers=(ROOM,)), Stop(13)
            assert attempt(run, *stops) == Stopped.exit_status
        assert "The best weights, of step 10, could not be written (" in run.log(0).read_text()
        assert [checkpoint.step for checkpoint in listed(run.checkpoints, "best")] == [10]
        assert differences(finish(run), reference) == []


def test_a_full_disk_at_the_last_moment_is_a_failure_that_keeps_the_checkpoint_before(
    run: RunFolder, reference: RunFolder
) -> None:
    with disk_of_its_own(run.checkpoints):
        fillers: list[Path] = []
        with on_signals({FULL: lambda: fillers.append(fill(run.checkpoints))}), pytest.raises(Exception) as raised:
            attempt(run, Stop(17, numbers=(FULL, signal.SIGTERM)))
        state = read_state(run)
        assert state["state"] == "failed"
        assert "No space left on device" in state["reason"] and str(run.checkpoints) in state["reason"]
        assert "\n" not in str(raised.value)
        assert done(run) == 15
        assert not run.requeue.exists()
        assert history.history(run)[-1]["state"] == "failed"
        assert list(run.checkpoints.glob(".*.tmp")) == []
        fillers[0].unlink()
        finish(run)
        assert history.history(run)[2]["from_step"] == 15
        assert differences(run, reference) == []


def test_a_full_disk_at_the_end_of_the_training_is_a_failure(run: RunFolder, reference: RunFolder) -> None:
    with disk_of_its_own(run.checkpoints):
        fillers: list[Path] = []
        with on_signals({FULL: lambda: fillers.append(fill(run.checkpoints))}), pytest.raises(Exception, match="space"):
            attempt(run, Stop(STEPS, "on_train_batch_end", numbers=(FULL,)))
        assert read_state(run)["state"] == "failed"
        assert read_json(run.result) is None
        assert done(run) == 45
        fillers[0].unlink()
        assert differences(finish(run), reference) == []


def test_a_folder_that_cannot_be_written_to(run: RunFolder, reference: RunFolder) -> None:
    with disk_of_its_own(run.checkpoints) as mount_again:
        with on_signals({FULL: lambda: mount_again("ro")}), pytest.raises(Exception, match="Read-only file system"):
            attempt(run, Stop(13, numbers=(FULL,)), Stop(16, numbers=(signal.SIGUSR2,)))
        assert "The checkpoint of step 15 could not be written (" in run.log(0).read_text()
        assert read_state(run)["state"] == "failed"
        assert "Read-only file system" in read_state(run)["reason"]
        mount_again("rw")
        assert done(run) == 12
        assert differences(finish(run), reference) == []


# --- refusals -----------------------------------------------------------------------------------


def _other_data(run: RunFolder, file: Path) -> Callable[[], None]:
    content = file.read_bytes()
    sizes = {"train": 192, "val": 29, "test": 27}
    splits = {split: experiments.classes(size, seed + 50) for seed, (split, size) in enumerate(sizes.items())}
    file.unlink()
    experiments.write(
        file, splits, source="tiny", task="classification", license="CC0-1.0", class_names=["dark", "gray", "light"]
    )
    return lambda: (file.write_bytes(content), None)[1]


def _edited(old: str, new: str) -> Callable[[RunFolder, Path], Callable[[], None]]:
    def edit(run: RunFolder, file: Path) -> Callable[[], None]:
        content = run.config.read_text()
        assert content.count(old) == 1, content
        run.config.write_text(content.replace(old, new))
        return lambda: (run.config.write_text(content), None)[1]

    return edit


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_data, ("data.file: has another content",)),
        (_edited("batch_size: 8", "batch_size: 4"), ("data.batch_size: gives a batch", "got 4; allowed: 8")),
        (_edited("seed: 7", "seed: 8"), ("seed: is not the run's", "got 8; allowed: 7")),
        (_edited("hidden: 8", "hidden: 9"), ("model: does not fit step-00000026.ckpt", "(8,", "now (9,")),
        (_edited("norm: batch", "norm: none"), ("model: does not fit step-00000026.ckpt: it has no",)),
    ],
    ids=["data", "batch-size", "seed", "width", "layers"],
)
def test_what_does_not_belong_to_a_checkpoint_is_refused(
    tmp_path: Path, change: Callable[[RunFolder, Path], Callable[[], None]], told: tuple[str, ...]
) -> None:
    file = experiments.classification_file(tmp_path, {"train": 192, "val": 29, "test": 27})
    run = experiments.prepared(tmp_path, experiments.raw(file, **CNN))
    assert attempt(run, Stop(26)) == Stopped.exit_status
    before = {path.name: path.read_bytes() for path in run.checkpoints.iterdir()}
    undo = change(run, file)
    with pytest.raises(Exception) as raised:
        train(run)
    assert type(raised.value).__name__ == "RunError"
    (line,) = str(raised.value).splitlines()
    assert all(part in line for part in told), line
    assert "Begin a new run" in line
    state = read_state(run)
    assert (state["state"], state["reason"]) == ("failed", line)
    assert {path.name: path.read_bytes() for path in run.checkpoints.iterdir()} == before
    undo()
    finish(run)
    assert read_json(run.result)["steps"] == STEPS
    assert history.history(run)[-2]["from_step"] == 26


def test_a_second_training_in_the_folder_leaves_the_state_of_the_first_alone(tmp_path: Path, file: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(file, **CNN))
    with lock.held(run), signals_of_this_process():
        write_state(run, "running", attempt=0)
        before = read_state(run)
        assert run_rank(run, redirect=False) == 2
    assert read_state(run) == before
    assert finish(run) and read_state(run)["state"] == "finished"
