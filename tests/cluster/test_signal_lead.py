"""The signal lead, computed from the measurements in run folders."""

import os
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import signal_lead
from hpc_dl.cluster.signal_lead import DEFAULT_LEAD_S
from hpc_dl.runs.folder import RunFolder


def measured(runs: Path, folder: str, day: int = 1, **timings: float) -> RunFolder:
    run = RunFolder(runs / folder)
    run.path.mkdir(parents=True)
    write_json(run.timings, {"boundary_s": 1.0, "checkpoint_s": 2.0, "lead_s": 21.0, **timings})
    os.utime(run.timings, (86400 * day, 86400 * day))
    return run


def test_default_without_measurements(tmp_path: Path) -> None:
    assert signal_lead.required_lead_s(tmp_path / "none", "x") == DEFAULT_LEAD_S
    measured(tmp_path, "xy-k3f", lead_s=500)
    measured(tmp_path, "x-y-k3f", lead_s=500)
    measured(tmp_path, "x-copy", lead_s=500)
    assert signal_lead.required_lead_s(tmp_path, "x") == DEFAULT_LEAD_S


def test_newest_run_or_rehearsal_of_that_name_counts(tmp_path: Path) -> None:
    measured(tmp_path, "x-k3f", day=3, lead_s=100.2)
    measured(tmp_path, "x-4wd", day=2, lead_s=500)
    assert signal_lead.required_lead_s(tmp_path, "x") == 101
    measured(tmp_path, f"{signal_lead.rehearsal_name('x')}-h2x", day=4, lead_s=200)
    assert signal_lead.required_lead_s(tmp_path, "x") == 200


def test_measurements_of_the_run_itself_take_precedence(tmp_path: Path) -> None:
    own = measured(tmp_path, "x-k3f", lead_s=100)
    measured(tmp_path, "x-4wd", day=2, lead_s=500)
    assert signal_lead.required_lead_s(tmp_path, "x", own) == 100
    new = RunFolder(tmp_path / "x-5zz")
    assert signal_lead.required_lead_s(tmp_path, "x", new) == 500


def test_measured_stop_counts_twice(tmp_path: Path) -> None:
    measured(tmp_path, "x-k3f", lead_s=100, stop_s=80.1)
    assert signal_lead.required_lead_s(tmp_path, "x") == 161


def test_minimum_is_one_minute(tmp_path: Path) -> None:
    measured(tmp_path, "x-k3f", lead_s=15.1)
    assert signal_lead.required_lead_s(tmp_path, "x") == 60


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_unreadable_measurements_are_ignored(tmp_path: Path, content: str) -> None:
    run = measured(tmp_path, "x-k3f", lead_s=500)
    run.timings.write_text(content)
    assert signal_lead.required_lead_s(tmp_path, "x", run) == DEFAULT_LEAD_S


@pytest.mark.parametrize(("minutes", "lead"), [(1, 30), (3, 90), (4, 120), (60, 120)])
def test_granted_lead_is_at_most_half_of_the_time_limit(minutes: int, lead: int) -> None:
    assert signal_lead.granted_lead_s(minutes) == lead


def test_shortage_warns_above_half_of_the_time_limit(tmp_path: Path) -> None:
    assert signal_lead.time_limit_warning(10, 300) == ""
    assert signal_lead.time_limit_warning(10, 301) == (
        "Of the 10 min of resources.time only 300 s are reserved for the last checkpoint, but it may need 301 s. "
        "Request at least 11 min."
    )


def test_rehearsal_name_is_not_too_long() -> None:
    assert signal_lead.rehearsal_name("x") == "x-rehearsal"
    assert len(signal_lead.rehearsal_name("x" * 80)) == 80


# ---- compared with the settings of Slurm


def test_no_grace_warnings_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert signal_lead.grace_warnings({"boundary_s": 1000.0}, None) == []


@pytest.mark.slurm
def test_grace_warnings_for_killwait_and_gracetime(
    slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)
    fast, slow, slower = ({"boundary_s": s, "checkpoint_s": 0.5} for s in (10.0, 25.0, 100.0))
    assert signal_lead.grace_warnings(fast, "preemptible-grace") == []
    (warning,) = signal_lead.grace_warnings(slow, "main,preemptible-grace")  # KillWait is 30 s, this GraceTime 20 s
    assert "partition preemptible-grace has 20 s (GraceTime)" in warning and "takes up to 26 s" in warning
    for partition in (None, "main", "preemptible"):
        (warning,) = signal_lead.grace_warnings(slower, partition)
        assert "kills jobs 30 s after SIGTERM" in warning and "takes up to 101 s" in warning
    assert len(signal_lead.grace_warnings(slower, "preemptible-grace")) == 2
