"""A short soak test: no fault costs more than promised or changes a bit; `make soak` does more."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak.faults import FAULTS, MOMENTS, PlannedFault
from benchmarks.soak.schedule import schedule
from benchmarks.soak.trials import Trial, allowed_steps
from tests.conftest import PROJECT


@pytest.mark.slow
@pytest.mark.timeout(290)
@pytest.mark.skipif(sys.platform != "linux", reason="sessions and limits of other processes are Linux's")
def test_runs_with_faults_are_identical_to_undisturbed_ones(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    # One run of two ranks and one of one: two stops, two kills, and a damaged checkpoint.
    limits = ["--runs", "2", "--seconds", "200", "--seed", "637"]
    command = [sys.executable, "-m", "benchmarks.soak", *limits, "--json", str(report)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(report.read_text())
    assert results["trials"], done.stdout
    for trial in results["trials"]:
        assert trial["survived"] and trial["identical"], trial
    stops = [row for row in results["faults"] if row["fault"].startswith(("SIGUSR", "SIGTERM", "SIGINT"))]
    assert sum(row["tries"] for row in stops) > 0
    assert {trial["run"] for trial in results["trials"]} == {1, 2}
    assert not any(row["most_steps_lost"] for row in stops), stops


def test_seed_determines_the_faults() -> None:
    def faults(seed: int) -> list[object]:
        return list(itertools.islice(schedule(seed), 40))

    assert faults(1) == faults(1) != faults(2)


def test_schedule_has_every_fault_and_every_moment() -> None:
    planned = [fault for _, faults in itertools.islice(schedule(1), 40) for fault in faults]
    assert {fault.fault for fault in planned} == set(FAULTS)
    assert {fault.moment for fault in planned} == set(MOMENTS)


def test_full_disk_excuses_a_run_that_could_not_save_its_last_checkpoint() -> None:
    def trial(fault: str, attempt: int, status: int | None) -> Trial:
        shot = PlannedFault(fault, "test", where=0, delay_s=0, target=0, second_s=0, cold=False)
        return Trial(1, "1 rank", attempt, shot, status=status, reached=72)

    full, failed, stopped = trial("disk full for a while", 0, None), trial("SIGTERM", 0, 1), trial("SIGTERM", 0, 75)
    assert allowed_steps(failed, [full, failed]) is None
    assert allowed_steps(failed, [failed]) == 0
    assert allowed_steps(stopped, [full, stopped]) == 0
    later = trial("SIGTERM", 1, 1)
    assert allowed_steps(later, [full, later]) == 0
