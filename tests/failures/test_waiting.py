"""Why a run waits: Slurm's reason, whether it ever starts, when, and what would start sooner."""

import shlex
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.failures.explanation import explain
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.predecessors import record
from tests.cluster.slurm_reports import JOB


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "runs", "tiny")
    write_json(run.job, JOB)
    return run


def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, reason: str, start: str = "N/A") -> None:
    """Put a squeue on the PATH that reports job 7 as pending."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    start_or_state = f'case "$*" in *--start*) echo {start} ;; *) echo {shlex.quote(f"7|PENDING|{reason}")} ;; esac'
    (programs / "squeue").write_text(f"#!/bin/sh\n{start_or_state}\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


def test_it_starts_by_itself(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "Priority", "2026-11-30T18:40:00")
    found = explain(run)
    assert (found["state"], found["starts"], found["expected"]) == ("pending", "later", "2026-11-30 18:40:00")
    assert "(Priority)" in found["cause"] and found["command"] == f"hpc-dl start-time {run.config}"


def test_it_never_starts(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "PartitionTimeLimit", "2027-11-30T18:40:00")
    found = explain(run)
    assert (found["starts"], found["expected"]) == ("never", None)
    assert "never start" in found["outlook"] and found["remedy"] and "resources.time" in found["keys"]


def test_it_is_held(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "JobHeldUser")
    found = explain(run)
    assert (found["starts"], found["expected"]) == ("held", None)
    assert "somebody acts" in found["outlook"] and "scontrol release 7" in found["remedy"]


def test_a_new_reason_is_repeated(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(tmp_path, monkeypatch, "MoonPhase")
    found = explain(run)
    assert (found["cause"], found["starts"]) == ("Slurm says MoonPhase", "")


def test_it_waits_for_other_runs(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = RunFolder.create(tmp_path / "runs", "before")
    write_json(before.job, JOB | {"job_id": "6"})
    record(run, [before])
    slurm(tmp_path, monkeypatch, "Dependency")
    found = explain(run)
    assert before.name in found["cause"] and "when these have finished" in found["remedy"]
