"""``hpc-dl rehearse``: on a real Slurm, on this machine, and where it must fail."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster import rehearse
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import JournalWriter, read_journal
from hpc_dl.training.stopping.rehearsal import file
from tests.cluster.conftest import Desk, wait_until

CPU = ("resources.gpus_per_node=0",)
FOUR_RANKS = ("resources.nodes=2", "resources.gpus_per_node=2")
OWN = ("model={class: own_model.Own}", "optimizer={}")


def wrap(desk: Desk, program: str, script: str) -> None:
    """Put a script before one of Slurm's commands; ``REAL`` stands for the command itself."""
    wrapper = desk.folder.parent / "bin" / program
    wrapper.write_text(f"#!/bin/sh\n{script.replace('REAL', str(shutil.which(program)))}\n")
    wrapper.chmod(0o755)


def ended(desk: Desk) -> bool:
    return all(facts["state"] == "cancelled" for facts in desk.json("status"))


# ---- on a real Slurm


@pytest.mark.slurm
@pytest.mark.slow
@pytest.mark.timeout(700)  # other tests may be before it in the queue
def test_two_nodes_with_two_ranks_on_slurm(slurm_desk: Desk) -> None:
    began = time.monotonic()
    words = ("rehearse", "tiny.yaml", *FOUR_RANKS, "--site", "dev", "--json")
    done = slurm_desk.run(*words, timeout_s=600)
    seconds = time.monotonic() - began
    assert "Sending a real SIGUSR2" in done.stderr and "[pending] requeued, goes on at step" in done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] and report["identical"] and report["problems"] == []
    # A word of one rank reaches the others with the next step.
    assert report["step"] == rehearse.STEPS_BEFORE + 1
    assert report["seconds"].keys() == {
        "queue_wait", "start_to_first_step", "step", "checkpoint", "signal_to_end_of_training", "signal_to_requeue",
        "requeue_wait", "restart_to_first_step",
    }  # fmt: skip
    assert report["seconds"]["requeue_wait"] >= 5
    assert seconds - report["seconds"]["queue_wait"] - report["seconds"]["requeue_wait"] < 120
    run = RunFolder(Path(report["interrupted"]))
    starts = [line for line in attempts.history(run) if line["event"] == "started"]
    assert [(line["from_step"], line["world_size"]) for line in starts] == [(0, 4), (report["step"], 4)]
    assert starts[1]["SLURM_RESTART_COUNT"] == "1"
    assert {facts["state"] for facts in slurm_desk.json("status")} == {"finished"}
    # The measured lead is what the next submission asks for.
    assert report["lead_s"] == 60
    dry = slurm_desk.run("submit", "tiny.yaml", "--site", "dev", "--dry-run").stdout
    assert "#SBATCH --signal=USR2@60\n" in dry
    assert "#SBATCH --signal=USR2@120\n" in slurm_desk.run("submit", "tiny.yaml", "name=other", "--dry-run").stdout


@pytest.mark.slurm
@pytest.mark.slow
def test_a_refused_requeue_is_told_with_what_to_say_to_the_administrators(slurm_desk: Desk) -> None:
    refusal = "Requested operation is presently disabled for job 7"
    wrap(slurm_desk, "scontrol", f'if [ "$1" = requeue ]; then echo "{refusal}" >&2; exit 1; fi; exec REAL "$@"')
    done = slurm_desk.run("rehearse", "tiny.yaml", *CPU, status=1, timeout_s=200)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("failed: the requeue and the second start: the run stopped: ")
    assert refusal in last and "Show the administrators" in last and "hpc-dl resume tiny-rehearsal-" in last
    assert "signal to checkpoint and end" in done.stdout, "what was measured is told all the same"
    assert "second start" not in done.stdout.replace(last, "")


@pytest.mark.slurm
def test_a_queue_that_takes_too_long_is_left(slurm_desk: Desk) -> None:
    wrap(slurm_desk, "sbatch", 'exec REAL --hold "$@"')
    done = slurm_desk.run("rehearse", "tiny.yaml", *CPU, "--timeout", "0.15", status=1)
    assert "[pending] it is held" in done.stderr
    assert "not within 0.15 min (pending it is held" in done.stdout.splitlines()[-1]
    wait_until(lambda: ended(slurm_desk), "both jobs are cancelled")


@pytest.mark.slurm
def test_ctrl_c_cancels_both_jobs(slurm_desk: Desk) -> None:
    wrap(slurm_desk, "sbatch", 'exec REAL --hold "$@"')
    process = slurm_desk.start("rehearse", "tiny.yaml", *CPU)
    wait_until(lambda: len(list(slurm_desk.runs.glob("*/job.json"))) == 2, "both are submitted")
    assert process.stderr is not None
    while "Waiting for" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Cancelling the jobs of the rehearsal" in told and "Traceback" not in told
    assert len(slurm_desk.json("status")) == 2
    wait_until(lambda: ended(slurm_desk), "both jobs are cancelled")


# ---- on this machine


@pytest.mark.slow
def test_on_a_machine_without_slurm(desk: Desk) -> None:
    done = desk.run("rehearse", "tiny.yaml", *CPU, "trainer.accumulate_grad_batches=2", timeout_s=200)
    assert done.stdout.splitlines()[-1] == "passed"
    assert "bit for bit those of the uninterrupted run" in done.stdout
    assert f"interrupted after step {rehearse.STEPS_BEFORE} of {rehearse.STEPS}" in done.stdout
    mine, other = sorted(map(RunFolder, desk.runs.iterdir()), key=lambda run: not file(run).exists())
    for run in (mine, other):
        assert str(run.path) in done.stdout
        validations = [row["step"] for row in read_journal(run.journal) if "val/loss" in row]
        assert validations == [rehearse.STEPS_IN_EPOCH, 2 * rehearse.STEPS_IN_EPOCH]
    timings = read_json(mine.timings)
    assert 0 < timings["stop_s"] < 10, "measured in the first attempt, kept by the second"
    assert timings["boundary_s"] < 10, "the wait for the signal was no step"


@pytest.mark.slow
def test_a_model_that_forgets_is_found_out(desk: Desk) -> None:
    (desk.folder / "forgetful.py").write_text(
        "from own_model import Own\n\n"
        "STEPS_SINCE_START = 0\n\n"
        "class Forgetful(Own):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        global STEPS_SINCE_START\n"
        "        STEPS_SINCE_START += 1\n"
        "        return super().training_step(batch, batch_idx) * STEPS_SINCE_START\n"
    )
    words = ("rehearse", "tiny.yaml", *CPU, "model={class: forgetful.Forgetful}", "optimizer={}")
    done = desk.run(*words, "--json", status=1, timeout_s=200)
    report = json.loads(done.stdout)
    assert not report["passed"] and not report["identical"] and report["largest_difference"] > 0
    assert "are not those of the run that was left alone" in report["problems"][0]
    assert report["step"] == rehearse.STEPS_BEFORE


@pytest.mark.slow
def test_a_training_that_fails_is_told_with_its_reason(desk: Desk) -> None:
    done = desk.run("rehearse", "tiny.yaml", *OWN, *CPU, "model.args={fail_on_rank: 0}", status=1)
    last = done.stdout.splitlines()[-1]
    assert last.startswith(
        f"failed: the first {rehearse.STEPS_BEFORE} steps of the run to be interrupted: the run failed"
    )
    assert "RuntimeError: deliberate" in last


def test_without_requeues_there_is_nothing_to_rehearse(desk: Desk) -> None:
    done = desk.run("rehearse", "tiny.yaml", "resources.max_requeues=0", status=2)
    assert "resources.max_requeues: leaves nothing to rehearse" in done.stderr
    assert not desk.runs.exists()


# ---- its parts


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


def test_it_is_the_same_experiment_but_for_its_length() -> None:
    whole = experiment(max_epochs=100, precision="bf16-mixed", val_check_interval=500, stall_timeout=1)
    short = rehearse.shortened(whole)
    assert (short.name, short.trainer.max_steps, short.trainer.epochs) == ("x-rehearsal", rehearse.STEPS, -1)
    assert (short.resources.minutes, short.wandb.mode, short.checkpoint.every) == (30, "disabled", "auto")
    assert short.trainer.precision == "bf16-mixed"
    assert (short.seed, short.data, short.model, short.optimizer) == (
        whole.seed,
        whole.data,
        whole.model,
        whole.optimizer,
    )
    assert short.trainer.stall_timeout == 10, "the wait for the signal is no stall"
    with pytest.raises(ConfigError, match="max_requeues"):
        rehearse.shortened(Experiment.from_dict(whole.to_dict() | {"resources": {"max_requeues": 0}}))


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_signal_that_does_not_arrive_is_told(tmp_path: Path, sleeper: psutil.Process) -> None:
    run = RunFolder.create(tmp_path, "x")
    write_json(file(run), {"hold_at_step": 10, "holding": 10})
    write_json(run.job, {"pid": sleeper.pid, "process_started": sleeper.create_time(), "host": os.uname().nodename,
                         "submitted": "2026-01-01T00:00:00+0000"})  # fmt: skip
    run.log(0).write_text("=== 2026-01-01T00:00:05+0000 rank 0 on here\n")
    attempts.record(run, "started", attempt=0, from_step=0)
    attempts.record(run, "ended", attempt=0, state="finished", step=20)
    with pytest.raises(rehearse.Failed, match="did not reach the training"):
        rehearse._interrupt(run, rehearse.Report("x"), {}, rehearse._Stages(print, 10))


def made(runs: Path, *attempts_of_steps: tuple[int, range], loss: float = 0.5, weight: float = 1.0) -> RunFolder:
    """A finished run whose attempts went on from a step, and did some."""
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


def compared(mine: RunFolder, other: RunFolder, **trainer: object) -> rehearse.Report:
    report = rehearse.Report("x")
    rehearse._compare(mine, other, report, experiment(**trainer))
    return report


def test_the_same_is_the_same_even_where_it_is_not_a_number(tmp_path: Path) -> None:
    mine = made(tmp_path, (0, range(1, 4)), (3, range(4, 7)), loss=math.nan)
    report = compared(mine, made(tmp_path, (0, range(1, 7)), loss=math.nan))
    assert report.passed and report.largest_difference == 0


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (range(1, 4), range(5, 7), "steps lost by the interruption: 4"),
        (range(1, 5), range(4, 7), "steps repeated by the interruption: 4"),
        (range(1, 4), range(4, 9), "steps added by the interruption: 7, 8"),
    ],
)
def test_each_step_is_done_once(tmp_path: Path, first: range, second: range, problem: str) -> None:
    report = compared(made(tmp_path, (0, first), (3, second)), made(tmp_path, (0, range(1, 7))))
    assert problem in report.problems


def test_other_weights_are_found(tmp_path: Path) -> None:
    mine, other = made(tmp_path, (0, range(1, 4)), weight=1.25), made(tmp_path, (0, range(1, 4)))
    torch.save({"state_dict": {"w": torch.tensor([1.25]), "n": torch.tensor(3)}}, mine.last_checkpoint)
    torch.save({"state_dict": {"w": torch.tensor([1.0]), "n": torch.tensor(3)}}, other.last_checkpoint)
    report = compared(mine, other)
    assert report.largest_difference == 0.25
    assert report.problems == [
        "1 values differ from those of the uninterrupted run, the most: last.ckpt/state_dict/w by 0.25"
    ]


def test_a_gpu_may_add_in_another_order_unless_it_was_told_not_to(tmp_path: Path) -> None:
    mine, other = made(tmp_path, (0, range(1, 4)), loss=0.5000001), made(tmp_path, (0, range(1, 4)))
    write_json(mine.result, read_json(mine.result) | {"device": "cuda"})
    report = compared(mine, other)
    assert report.passed and report.largest_difference == pytest.approx(1e-7)
    assert not compared(mine, other, deterministic=True).passed
