"""Each check of ``hpc-dl doctor`` finds its kind of trouble, and nothing where there is none."""

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.doctor import checks
from hpc_dl.cluster.doctor.check import Situation
from hpc_dl.cluster.doctor.checks import clock
from hpc_dl.cluster.inspection.queries import inspect
from hpc_dl.cluster.inspection.storage import FileSystem
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.compatibility.private_names import TESTED
from hpc_dl.config.experiment import Experiment
from tests.cluster.inspection.recorded_cluster import use_cluster, write_program

Look = Callable[..., list[str]]
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "data": {"source": "digits"},
    "model": {"name": "linear"},
    "resources": {"gpus_per_node": 1, "memory": "1G", "time": 10},
}


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Run a check on the recorded cluster of Slurm 24.05; returns its findings."""
    use_cluster("24.05", tmp_path / "bin", monkeypatch)
    for name in ("sbatch", "squeue", "scancel", "sacct"):
        write_program(tmp_path / "bin" / name, "exit 0")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_CONFIG_DIR", "HF_HOME", "TORCH_HOME", "PIP_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(name: str, experiment: dict[str, Any] | None = None, *, scratch: bool = False, **site: Any) -> list[str]:
        facts = inspect()
        if scratch:
            storage = [FileSystem("$SCRATCH", "lustre", 2**40, None, True)]
            facts = dataclasses.replace(facts, storage=storage)
        situation = Situation(
            SiteProfile.model_validate({"partition": "gpu", "account": "training", **site}),
            tmp_path / "runs",
            tmp_path / "data",
            facts,
            Experiment.from_dict(EXPERIMENT | (experiment or {})),
        )
        return [str(finding) for finding in checks.run(situation, name)[name]]

    return run


def test_commands(look: Look, tmp_path: Path) -> None:
    assert look("commands") == []
    for name in ("sbatch", "sacct"):
        (tmp_path / "bin" / name).unlink()
    first, second = look("commands", scheduler="slurm")
    assert first.startswith("sbatch was not found. Jobs cannot be submitted. Work on a login node")
    assert second.startswith("sacct was not found. ")


def test_site_profile(look: Look) -> None:
    assert look("site_profile") == []
    (line,) = look("site_profile", account="gone")
    assert line.startswith("account: is none of the accounts of me, 'gone' (allowed: lab, training). ")


def test_submission(look: Look, tmp_path: Path) -> None:
    (line,) = look("submission", limits={"time": 5})
    assert line.startswith("resources.time: more time than this site allows. ")
    write_program(tmp_path / "bin" / "sbatch", "echo 'sbatch: Job 1 to start at 2026-11-30T09:00:00 using 1' >&2")
    assert look("submission") == []
    refusal = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    write_program(tmp_path / "bin" / "sbatch", f"echo '{refusal}' >&2; exit 1")
    (line,) = look("submission")
    assert line.startswith("Slurm refuses this job: Invalid account") and "`account`" in line


def test_data_file(look: Look, tmp_path: Path) -> None:
    assert look("data_file")[0].startswith("the data set digits is not there yet. ")
    missing = {"data": {"file": str(tmp_path / "no.h5"), "inputs": "x", "targets": "y"}}
    (line,) = look("data_file", missing)
    assert "no.h5: does not exist" in line


def test_disk_space(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.cluster.doctor.checks.disk_space._LEAST_GIB", 0.0)
    monkeypatch.setattr("hpc_dl.cluster.doctor.checks.disk_space._LEAST_INODES", 0)
    assert look("disk_space") == []
    monkeypatch.setattr("hpc_dl.cluster.doctor.checks.disk_space._LEAST_GIB", 1e12)
    (line,) = look("disk_space")
    assert "GiB are free for" in line and "`hpc-dl remove RUN`" in line


def test_quotas(look: Look, tmp_path: Path) -> None:
    assert look("quotas") == []
    rows = "/dev/sda 950 0 1000 0 20 0 0 0\n/dev/sdb 1 0 1000 0 101 100 120 0"
    write_program(tmp_path / "bin" / "quota", f"echo '{rows}'")
    nearly, over = look("quotas")
    assert nearly.startswith("/dev/sda: 0.0 of 0.0 GiB, 95% of the quota. ") and "`hpc-dl disk`" in nearly
    assert over.startswith("/dev/sdb: 101 of 100 files, 101% of the quota. ")


def test_caches(look: Look, tmp_path: Path) -> None:
    assert look("caches", scratch=True) == []
    (tmp_path / "home" / ".cache" / "pip").mkdir(parents=True)
    assert look("caches") == [], "there is no other place"
    (line,) = look("caches", scratch=True)
    assert line.startswith("caches are in your home folder: PIP_CACHE_DIR.")
    assert line.endswith("export PIP_CACHE_DIR=$SCRATCH/cache/pip_cache_dir")


def test_packages(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TESTED, "h5py", ("99", "100"))
    lines = look("packages")
    assert any(line.startswith("h5py: version") and "pip install 'h5py>=99,<100'" in line for line in lines)


def test_wandb_account(look: Look) -> None:
    assert look("wandb_account", {"wandb": {"mode": "offline"}}) == []
    (line,) = look("wandb_account")
    assert line.startswith("W&B is offline: ") and "hpc-dl sync RUN" in line


@pytest.mark.parametrize(("text", "difference"), [("2026-11-30T09:00:00", 90.0), ("", None), ("Unknown", None)])
def test_clock(text: str, difference: float | None) -> None:
    assert clock.difference_s(text, datetime.datetime(2026, 11, 30, 9, 1, 30)) == difference


def test_clock_of_a_controller(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_MOST_S", float("inf"))
    assert look("clock") == []
    monkeypatch.setattr(clock, "_MOST_S", -1.0)
    assert look("clock")[0].startswith("the clock of this machine differs by ")


def test_every_check_has_a_test() -> None:
    assert {name for name in checks.names() if f"test_{name}" not in globals()} == set()
