"""The parts of a rehearsal: short experiment, interruption, comparison."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.rehearsal.interruption import interrupt
from hpc_dl.cluster.rehearsal.report import Report, Timeline, compare
from hpc_dl.cluster.rehearsal.short_experiment import STEPS, shortened
from hpc_dl.cluster.rehearsal.stages import StageFailed, Stages
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import JournalWriter
from hpc_dl.training.stopping.rehearsal import file


def experiment(**trainer: object) -> Experiment:
    return Experiment.from_dict(
        {
            "name": "x",
            "data": {"source": "digits"},
            "model": {"name": "linear"},
            "trainer": trainer,
            "resources": {"time": "1-00:00:00"},
        }
    )


def test_shortened_experiment_differs_only_in_length() -> None:
    full = experiment(max_epochs=100, precision="bf16-mixed", val_check_interval=500, stall_timeout=1)
    short = shortened(full)
    assert (short.name, short.trainer.max_steps, short.trainer.epochs) == ("x-rehearsal", STEPS, -1)
    assert (short.resources.minutes, short.wandb.mode, short.checkpoint.every) == (30, "disabled", "auto")
    assert short.trainer.precision == "bf16-mixed"
    assert (short.seed, short.data, short.model, short.optimizer) == (
        full.seed,
        full.data,
        full.model,
        full.optimizer,
    )
    assert short.trainer.stall_timeout == 10, "the wait for the signal must not count as a stall"
    with pytest.raises(ConfigError, match="max_requeues"):
        shortened(Experiment.from_dict(full.to_dict() | {"resources": {"max_requeues": 0}}))


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_signal_that_does_not_arrive_is_reported(tmp_path: Path, sleeper: psutil.Process) -> None:
    run = RunFolder.create(tmp_path, "x")
    write_json(file(run), {"hold_at_step": 10, "holding": 10})
    write_json(run.job, {"pid": sleeper.pid, "process_started": sleeper.create_time(), "host": os.uname().nodename,
                         "submitted": "2026-01-01T00:00:00+0000"})  # fmt: skip
    run.log(0).write_text("=== 2026-01-01T00:00:05+0000 rank 0 on here\n")
    attempts.record(run, "started", attempt=0, from_step=0)
    attempts.record(run, "ended", attempt=0, state="finished", step=20)
    with pytest.raises(StageFailed, match="did not reach the training"):
        interrupt(run, Report("x"), Timeline(), Stages(print, 10))


def finished_run(
    runs: Path, *attempts_of_steps: tuple[int, range], loss: float = 0.5, weight: float = 1.0
) -> RunFolder:
    """A finished run, whose attempts resumed at a step and did some steps."""
    run = RunFolder.create(runs, "x")
    for number, (from_step, steps) in enumerate(attempts_of_steps):
        writer = JournalWriter(run.journal, number, from_step)
        for step in steps:
            writer.write({"train/loss": loss, "train/samples_per_s": time.time()}, step, 0)
        writer.close()
        attempts.record(run, "ended", attempt=number, state="stopped")
    write_json(run.result, {"device": "cpu", "metrics": {"val/loss": 0.5}, "steps": 6, "epochs": 2})
    torch.save({"state_dict": {"w": torch.tensor([weight, math.nan]), "n": torch.tensor(3)}}, run.last_checkpoint)
    torch.save({}, run.checkpoints / "best.ckpt")
    return run


def compared(interrupted: RunFolder, uninterrupted: RunFolder, **trainer: object) -> Report:
    report = Report("x")
    compare(interrupted, uninterrupted, report, experiment(**trainer))
    return report


def test_equal_runs_are_identical_also_with_nan(tmp_path: Path) -> None:
    interrupted = finished_run(tmp_path, (0, range(1, 4)), (3, range(4, 7)), loss=math.nan)
    report = compared(interrupted, finished_run(tmp_path, (0, range(1, 7)), loss=math.nan))
    assert report.passed and report.largest_difference == 0


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (range(1, 4), range(5, 7), "steps lost by the interruption: 4"),
        (range(1, 5), range(4, 7), "steps repeated by the interruption: 4"),
        (range(1, 4), range(4, 9), "steps added by the interruption: 7, 8"),
    ],
)
def test_lost_repeated_and_added_steps_are_reported(tmp_path: Path, first: range, second: range, problem: str) -> None:
    report = compared(finished_run(tmp_path, (0, first), (3, second)), finished_run(tmp_path, (0, range(1, 7))))
    assert problem in report.problems


def test_different_weights_are_reported(tmp_path: Path) -> None:
    interrupted, uninterrupted = (
        finished_run(tmp_path, (0, range(1, 4)), weight=1.25),
        finished_run(tmp_path, (0, range(1, 4))),
    )
    torch.save({"state_dict": {"w": torch.tensor([1.25]), "n": torch.tensor(3)}}, interrupted.last_checkpoint)
    torch.save({"state_dict": {"w": torch.tensor([1.0]), "n": torch.tensor(3)}}, uninterrupted.last_checkpoint)
    report = compared(interrupted, uninterrupted)
    assert report.largest_difference == 0.25
    assert report.problems == [
        "1 values differ from those of the uninterrupted run; the largest difference: last.ckpt/state_dict/w by 0.25"
    ]


def test_gpus_may_differ_unless_deterministic(tmp_path: Path) -> None:
    interrupted, uninterrupted = (
        finished_run(tmp_path, (0, range(1, 4)), loss=0.5000001),
        finished_run(tmp_path, (0, range(1, 4))),
    )
    write_json(interrupted.result, read_json(interrupted.result) | {"device": "cuda"})
    report = compared(interrupted, uninterrupted)
    assert report.passed and report.largest_difference == pytest.approx(1e-7)
    assert not compared(interrupted, uninterrupted, deterministic=True).passed
