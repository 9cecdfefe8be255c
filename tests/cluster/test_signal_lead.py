"""The signal lead: from the measurements that run folders hold."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import signal_lead
from hpc_dl.cluster.requeue import DEFAULT_LEAD_S
from hpc_dl.runs.folder import RunFolder
from tests.conftest import PROJECT


def measured(runs: Path, folder: str, **timings: float) -> RunFolder:
    run = RunFolder(runs / folder)
    run.path.mkdir(parents=True)
    write_json(run.timings, {"boundary_s": 1.0, "checkpoint_s": 2.0, "lead_s": 21.0, **timings})
    return run


def test_without_measurements_it_is_the_default(tmp_path: Path) -> None:
    assert signal_lead.lead_s(tmp_path / "none", "x") == DEFAULT_LEAD_S
    measured(tmp_path, "xy-20260101-000000-aaaa", lead_s=500)
    measured(tmp_path, "x-y-20260101-000000-aaaa", lead_s=500)
    measured(tmp_path, "x-copy", lead_s=500)
    assert signal_lead.lead_s(tmp_path, "x") == DEFAULT_LEAD_S


def test_the_newest_run_of_that_name_counts_rehearsals_too(tmp_path: Path) -> None:
    measured(tmp_path, "x-20260103-000000-aaaa", lead_s=100.2)
    measured(tmp_path, "x-20260102-000000-bbbb", lead_s=500)
    assert signal_lead.lead_s(tmp_path, "x") == 101
    measured(tmp_path, f"{signal_lead.rehearsal_name('x')}-20260104-000000-cccc", lead_s=200)
    assert signal_lead.lead_s(tmp_path, "x") == 200


def test_a_run_that_goes_on_has_its_own(tmp_path: Path) -> None:
    own = measured(tmp_path, "x-20260101-000000-aaaa", lead_s=100)
    measured(tmp_path, "x-20260102-000000-bbbb", lead_s=500)
    assert signal_lead.lead_s(tmp_path, "x", own) == 100
    new = RunFolder(tmp_path / "x-20260103-000000-cccc")
    assert signal_lead.lead_s(tmp_path, "x", new) == 500


def test_a_stop_that_took_longer_than_its_parts_counts_twice(tmp_path: Path) -> None:
    measured(tmp_path, "x-20260101-000000-aaaa", lead_s=100, stop_s=80.1)
    assert signal_lead.lead_s(tmp_path, "x") == 161


def test_it_is_a_minute_at_least(tmp_path: Path) -> None:
    measured(tmp_path, "x-20260101-000000-aaaa", lead_s=15.1)
    assert signal_lead.lead_s(tmp_path, "x") == 60


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_measurements_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    run = measured(tmp_path, "x-20260101-000000-aaaa", lead_s=500)
    run.timings.write_text(content)
    assert signal_lead.lead_s(tmp_path, "x", run) == DEFAULT_LEAD_S


def test_half_of_the_time_limit_is_the_most(tmp_path: Path) -> None:
    assert signal_lead.shortage(10, 300) == ""
    assert signal_lead.shortage(10, 301) == (
        "Of 10 min of resources.time only 300 s are kept for the last checkpoint, but it may need 301 s. "
        "Ask for at least 11 min."
    )


def test_the_name_of_a_rehearsal_is_a_valid_one() -> None:
    assert signal_lead.rehearsal_name("x") == "x-rehearsal"
    assert len(signal_lead.rehearsal_name("x" * 80)) == 80


def test_torch_is_not_imported() -> None:
    text = "import sys, hpc_dl.cluster.signal_lead; assert not {'torch', 'submitit'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", text], cwd=PROJECT, check=True, timeout=60)


# ---- against what Slurm grants


def test_slurm_is_not_asked_in_vain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert signal_lead.grace_warnings({"boundary_s": 1000.0}, None) == []


@pytest.mark.slurm
def test_a_slow_checkpoint_is_told_against_killwait_and_gracetime(
    slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)
    fast, slow, slower = ({"boundary_s": s, "checkpoint_s": 0.5} for s in (10.0, 25.0, 100.0))
    assert signal_lead.grace_warnings(fast, "preemptible-grace") == []
    (told,) = signal_lead.grace_warnings(slow, "main,preemptible-grace")  # KillWait is 30 s, this GraceTime 20 s
    assert "partition preemptible-grace has 20 s (GraceTime)" in told and "takes up to 26 s" in told
    for partition in (None, "main", "preemptible"):
        (told,) = signal_lead.grace_warnings(slower, partition)
        assert "kills 30 s after SIGTERM" in told and "takes up to 101 s" in told
    assert len(signal_lead.grace_warnings(slower, "preemptible-grace")) == 2
