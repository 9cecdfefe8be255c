"""A profile of the development cluster: written in one command, used by the next, checked."""

from pathlib import Path

import pytest

from hpc_dl.cluster import site
from tests.cluster.conftest import Desk

pytestmark = pytest.mark.slurm


@pytest.fixture
def profiles(slurm_desk: Desk, tmp_path: Path) -> Path:
    slurm_desk.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return tmp_path / "config" / "hpc_dl" / "sites"


def test_fresh_account_to_a_batch_script_in_two_commands(slurm_desk: Desk, profiles: Path) -> None:
    before = slurm_desk.run("submit", "tiny.yaml", "--dry-run")
    assert "`hpc-dl site init` writes one" in before.stderr and "--account" not in before.stdout
    slurm_desk.run("site", "init", "--yes")
    after = slurm_desk.run("submit", "tiny.yaml", "--dry-run")
    assert "site init" not in after.stderr
    assert "#SBATCH --partition=main\n" in after.stdout and "#SBATCH --account=dev\n" in after.stdout
    (path,) = profiles.glob("*.yaml")
    assert slurm_desk.run("site", "check").stdout == ""
    path.write_text(path.read_text().replace("account: dev", "account: other").replace("  nodes: 2", "  nodes: 3"))
    found = slurm_desk.run("site", "check", status=1).stdout
    assert [line.partition(":")[0] for line in found.splitlines()] == ["account", "limits.nodes"]
    limits = site.load(str(path)).limits
    assert (limits.nodes, limits.gpus_per_node, limits.time) == (3, 4, "1-00:00:00")


def test_doctor_asks_slurm_about_the_experiment(slurm_desk: Desk, profiles: Path) -> None:
    slurm_desk.run("site", "init", "--yes")
    well = slurm_desk.run("doctor", "tiny.yaml").stdout
    assert "submission: ok" in well and "site profile: ok" in well
    (path,) = profiles.glob("*.yaml")
    path.write_text(path.read_text().replace("account: dev", "account: other"))
    ill = slurm_desk.run("doctor", "tiny.yaml", status=1).stdout
    assert "submission: Slurm refuses this job: Invalid account" in ill
    assert "site profile: account: is none of the accounts of" in ill
