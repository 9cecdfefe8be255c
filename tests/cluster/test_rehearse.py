"""``hpc-dl rehearse`` on a machine without Slurm."""

import json

import pytest

from hpc_dl.cluster.rehearsal.short_experiment import STEPS, STEPS_BEFORE_SIGNAL, STEPS_PER_EPOCH
from hpc_dl.regular_files import read_json
from hpc_dl.runs.search import all_runs
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.stopping.rehearsal import file
from tests.cluster.conftest import Desk

pytestmark = pytest.mark.slow

CPU = ("resources.gpus_per_node=0",)
OWN = ("model={class: own_model.Own}", "optimizer={}")


@pytest.mark.slow
def test_rehearsal_on_a_machine_without_slurm(desk: Desk) -> None:
    result = desk.run("rehearse", "tiny.yaml", *CPU, "trainer.accumulate_grad_batches=2", timeout_s=200)
    assert result.stdout.splitlines()[-1] == "passed"
    assert "bitwise identical to those of the uninterrupted run" in result.stdout
    assert f"interrupted after step {STEPS_BEFORE_SIGNAL} of {STEPS}" in result.stdout
    interrupted, uninterrupted = sorted(all_runs(desk.runs), key=lambda run: not file(run).exists())
    for run in (interrupted, uninterrupted):
        assert str(run.path) in result.stdout
        validations = [row["step"] for row in read_journal(run.journal) if "val/loss" in row]
        assert validations == [STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]
    timings = read_json(interrupted.timings)
    assert 0 < timings["stop_s"] < 10, "measured in the first attempt, kept by the second"
    assert timings["boundary_s"] < 10, "the wait for the signal does not count as a step"


@pytest.mark.slow
def test_rehearsal_fails_if_the_model_loses_state(desk: Desk) -> None:
    arguments = ("rehearse", "tiny.yaml", *CPU, "model={class: forgetful_model.Forgetful}", "optimizer={}")
    result = desk.run(*arguments, "--json", status=1, timeout_s=200)
    report = json.loads(result.stdout)
    assert not report["passed"] and not report["identical"] and report["largest_difference"] > 0
    assert "values differ from those of the uninterrupted run" in report["problems"][0]
    assert report["step"] == STEPS_BEFORE_SIGNAL


@pytest.mark.slow
def test_failing_training_is_reported_with_its_reason(desk: Desk) -> None:
    result = desk.run("rehearse", "tiny.yaml", *OWN, *CPU, "model.args={fail_on_rank: 0}", status=1)
    last = result.stdout.splitlines()[-1]
    assert last.startswith(
        f"failed: the first {STEPS_BEFORE_SIGNAL} steps of the run to be interrupted: the run failed"
    )
    assert "RuntimeError: deliberate" in last


def test_experiment_without_requeues_is_refused(desk: Desk) -> None:
    result = desk.run("rehearse", "tiny.yaml", "resources.max_requeues=0", status=2)
    assert "resources.max_requeues: must not be 0 in a rehearsal" in result.stderr
    assert not desk.runs.exists()
