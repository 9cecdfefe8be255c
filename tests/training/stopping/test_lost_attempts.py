"""Attempts that SIGKILL ends: the loss is bounded, and the run resumes exactly."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed, problem_of
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import goodput_of
from hpc_dl.runs.state import read_state
from tests import experiments
from tests.training.attempts import WAIT_S, Stop, done, finish, kill, output, start, wait
from tests.training.stopping.interrupted_runs import FREQUENTLY_SAVED, SAVE_EVERY, STEPS

pytestmark = pytest.mark.slow


def assert_killed(run: RunFolder, stop: Stop) -> None:
    """Train with a stop by SIGKILL."""
    assert wait(start(run, stop)) == -signal.SIGKILL, output(run)


def test_killed_at_arbitrary_points(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    draw = random.Random(11)
    hooks = ("on_train_batch_start", "on_train_batch_end", "on_train_batch_end", "on_validation_batch_end")
    for step in sorted(draw.sample(range(2, STEPS), 5)):
        if step < done(saved_run):
            continue
        before = len(history.history(saved_run))
        stop = Stop(step, draw.choice(hooks if step < 30 else hooks[:3]), numbers=(signal.SIGKILL,))
        assert_killed(saved_run, stop)
        reached = max(row["step"] for row in _newest_rows(saved_run))
        assert done(saved_run) >= reached - SAVE_EVERY, f"more than {SAVE_EVERY} steps are lost at {stop}"
        assert [line["event"] for line in history.history(saved_run)[before:]] == ["started"]
        assert read_state(saved_run)["state"] == "running"
    assert wait(start(saved_run)) == 0, output(saved_run)
    assert differences(saved_run, saved_reference) == []
    goodput = goodput_of(saved_run)
    assert goodput is not None and 0 < goodput.share < 1
    assert goodput.starts == sum(line["event"] == "started" for line in history.history(saved_run))
    assert abs(goodput.parts["other"]) <= 0.01 * goodput.allocated_s


def _newest_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of the newest attempt's journal; a row of step 0 where it has none."""
    newest = max(run.journal.glob("*.jsonl"))
    return [row for line in newest.read_text().splitlines() if "step" in (row := json.loads(line))] or [{"step": 0}]


@pytest.mark.slow
def test_killed_at_arbitrary_times(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    draw = random.Random(12)
    kills = 0
    for _ in range(8):
        num_journals = len(list(saved_run.journal.glob("*.jsonl")))
        processes = start(saved_run)
        while len(list(saved_run.journal.glob("*.jsonl"))) == num_journals and not _ended(processes):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.1))
        if _ended(processes):
            break
        kill(processes)
        kills += 1
    assert kills >= 3, "the training ended too soon"
    assert wait(start(saved_run)) == 0, output(saved_run)
    assert differences(saved_run, saved_reference) == []


def _ended(processes: list[Any]) -> bool:
    """Whether a process has ended by itself."""
    return any(process.exitcode is not None for process in processes)


@pytest.mark.slow
def test_killed_during_a_write(tmp_path: Path, many_images: Path) -> None:
    # Large enough that a write takes a while.
    large = {"model": {"name": "mlp", "width": 1500, "depth": 2}, "trainer": {"max_epochs": 1, "log_every_n_steps": 2}}
    sections = FREQUENTLY_SAVED | large | {"checkpoint": {"every": "4 steps"}}
    reference = finish(experiments.prepared(tmp_path, experiments.raw(many_images, **sections)))
    run = experiments.prepared(tmp_path, experiments.raw(many_images, **sections))
    draw = random.Random(13)
    inside = 0
    for number in range(5):
        leftovers = _temporary(run)
        processes = start(run)
        while not _temporary(run) - leftovers and not _ended(processes):
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.02) if number % 2 else 0)
        assert not _ended(processes), output(run)
        kill(processes)
        inside += bool(_temporary(run) - leftovers)
        newest = listed(run.checkpoints, "step")
        assert not newest or problem_of(newest[-1]) == ""
    assert inside >= 2, "no kill came in the middle of a write"
    assert wait(start(run)) == 0, output(run)
    assert list(run.checkpoints.glob(".*")) == [], "temporary files of the lost attempts"
    assert differences(run, reference) == []


def _temporary(run: RunFolder) -> set[str]:
    """Files of checkpoints that are being written, or whose writer was killed."""
    return {path.name for path in run.checkpoints.glob(".step-*.tmp")}


@pytest.mark.slow
def test_two_ranks_killed_one_after_the_other(tmp_path: Path, many_images: Path) -> None:
    two = {"data": {"batch_size": 4}, "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1}}
    sections = FREQUENTLY_SAVED | two | {"trainer": FREQUENTLY_SAVED["trainer"] | {"accelerator": "cpu"}}
    reference, run = (experiments.prepared(tmp_path, experiments.raw(many_images, **sections)) for _ in range(2))
    assert wait(start(reference)) == 0, output(reference)
    for rank, step in ((1, 8), (0, 23)):
        processes = start(run, Stop(step, rank=rank, numbers=(signal.SIGKILL,)))
        processes[rank].join(WAIT_S)
        assert processes[rank].exitcode == -signal.SIGKILL
        kill(processes)
        assert done(run) >= step - SAVE_EVERY
    assert wait(start(run)) == 0, output(run)
    assert differences(run, reference) == []
