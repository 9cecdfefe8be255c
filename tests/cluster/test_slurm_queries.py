"""Queries to Slurm, whose commands are replaced by shell scripts."""

import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId

WriteProgram = Callable[[str, str], None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteProgram:
    """Hide Slurm's commands; returns a function that writes a fake one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    which = shutil.which
    monkeypatch.setattr("hpc_dl.cluster.slurm.shutil.which", lambda name: which(name, path=str(folder)))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return write


def test_sacct_reports_jobs_missing_in_squeue(programs: WriteProgram) -> None:
    programs("squeue", "echo '1|RUNNING|None'")
    programs("sacct", "echo '2|CANCELLED by 0|None'; echo '3|OUT_OF_MEMORY|OutOfMemory'")
    infos = slurm.query_jobs(map(JobId, ["1", "2", "3"]))
    assert {str(job): info.state for job, info in infos.items()} == {
        "1": "RUNNING",
        "2": "CANCELLED",
        "3": "OUT_OF_MEMORY",
    }


@pytest.mark.parametrize("sacct", ["", "echo 'Slurm accounting storage is disabled' >&2; exit 1", "missing"])
def test_scontrol_reports_jobs_without_accounting(programs: WriteProgram, sacct: str) -> None:
    programs("squeue", "")
    if sacct != "missing":
        programs("sacct", sacct)
    programs("scontrol", 'echo "JobId=$4 JobState=FAILED Reason=NonZeroExitCode Dependency=(null)"')
    assert slurm.query_jobs([JobId("5")]) == {JobId("5"): slurm.JobInfo("FAILED", "NonZeroExitCode")}


def test_only_an_explicit_error_makes_a_job_forgotten(programs: WriteProgram) -> None:
    programs("squeue", "")
    programs("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.query_jobs([JobId("5")]) == {JobId("5"): slurm.JobInfo(slurm.FORGOTTEN)}
    programs("scontrol", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert slurm.query_jobs([JobId("5")]) == {}


def test_unresponsive_slurm_reports_nothing(programs: WriteProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.2)
    for name in ("squeue", "sacct", "scontrol"):
        programs(name, "exec sleep 30")
    started = time.monotonic()
    assert slurm.query_jobs([JobId("5")]) == {}
    assert time.monotonic() - started < 5
