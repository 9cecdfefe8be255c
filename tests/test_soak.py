"""Kills at random moments cost no more than is promised and change no bit of the outcome; `make
soak` does more."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.soak import FAULTS, MOMENTS, plans
from tests.conftest import PROJECT


@pytest.mark.slow
@pytest.mark.timeout(290)
@pytest.mark.skipif(sys.platform != "linux", reason="sessions and limits of other processes are Linux's")
def test_a_soak_leaves_every_run_identical(tmp_path: Path) -> None:
    report = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--seconds", "45", "--seed", "11", "--json", str(report)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert told["trials"], done.stdout
    for trial in told["trials"]:
        assert trial["survived"] and trial["identical"], trial
    stops = [row for row in told["faults"] if row["fault"].startswith(("SIGUSR", "SIGTERM", "SIGINT"))]
    assert sum(row["tries"] for row in stops) > 0
    assert not any(row["most_steps_lost"] for row in stops), stops


def test_the_seed_fixes_the_faults() -> None:
    def planned(seed: int) -> list[object]:
        return list(itertools.islice(plans(seed), 40))

    assert planned(1) == planned(1) != planned(2)


def test_no_kind_of_fault_is_forgotten() -> None:
    shots = [shot for _, shots in itertools.islice(plans(1), 40) for shot in shots]
    assert {shot.fault for shot in shots} == set(FAULTS)
    assert {shot.moment for shot in shots} == set(MOMENTS)
