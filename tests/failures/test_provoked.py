"""Failures that are provoked on a real Slurm, and what ``hpc-dl why`` says about them."""

import shutil
from pathlib import Path

import pytest

from tests.cluster.conftest import Desk
from tests.failures.provoke import FEW, Bench


@pytest.mark.slurm
def test_provoked_failures_are_explained(slurm_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(Path(__file__).with_name("failing.py"), slurm_desk.folder)
    slurm_desk.environment["HPC_DL_RUNS"] = str(slurm_desk.runs)
    for name, value in slurm_desk.environment.items():  # the explanations ask Slurm, too
        monkeypatch.setenv(name, value)
    bench = Bench(slurm_desk.folder, slurm_desk.environment)
    bench.submit_alone("module")
    bench.submit_steps(FEW)
    found = bench.explained(timeout_s=400)
    assert len(found) == len(FEW) + 1
    assert {name: (rules, one) for name, (rules, one) in found.items() if one["rule"] not in rules.split()} == {}
