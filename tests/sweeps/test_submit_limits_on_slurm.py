"""A sweep with more members than a user may submit: what fits goes, the rest can follow."""

import subprocess
from collections.abc import Iterator

import pytest

from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.submit_limits import allowance
from hpc_dl.config import yaml
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.submission import largest_array
from tests.cluster.conftest import Desk, command, desk, digits_folder, slurm_desk, wait_until

__all__ = ["command", "desk", "digits_folder", "slurm_desk"]
pytestmark = pytest.mark.slurm

# Two jobs for each user; held, so that none ends in between.
SITE = {"qos": "limited", "sbatch": {"hold": True}}


@pytest.fixture
def limited_desk(slurm_desk: Desk) -> Iterator[Desk]:
    """A working folder with a sweep of three members and a profile whose QOS allows two jobs."""
    content = yaml.load(slurm_desk.folder / "tiny.yaml")
    content["sweep"] = {"parameters": {"optimizer.lr": {"values": [0.1, 0.2, 0.3]}}}
    (slurm_desk.folder / "tiny.yaml").write_text(yaml.dumps(content))
    (slurm_desk.folder / "limited.yaml").write_text(yaml.dumps(SITE))
    yield slurm_desk
    cancel_jobs(slurm_desk)


def cancel_jobs(desk: Desk) -> None:
    subprocess.run(["scancel", "--me", "--qos=limited"], env=desk.environment, check=True, timeout=60)
    wait_until(lambda: not jobs_in_queue(desk), "the jobs have left the queue")


def jobs_in_queue(desk: Desk) -> int:
    command = ["squeue", "--me", "--noheader", "--array", "--qos=limited"]
    return len(subprocess.run(command, env=desk.environment, check=True, capture_output=True).stdout.splitlines())


def test_what_the_limit_allows_is_submitted_and_resume_submits_the_rest(limited_desk: Desk) -> None:
    site = ("--site", "./limited.yaml")
    first = limited_desk.run("sweep", "tiny.yaml", *site)
    sweep = SweepFolder(limited_desk.runs / "tiny-sweep")
    assert [run.job.exists() for run in sweep.runs()] == [True, True, False]
    assert jobs_in_queue(limited_desk) == 2
    assert "Submitted 2 members of tiny-sweep" in first.stderr
    assert (
        "Slurm's limit MaxSubmitPU=2 of the QOS limited allows no more jobs now. Submit the other 1 with "
        "`hpc-dl resume tiny-sweep`" in first.stderr
    )
    refused = limited_desk.run("resume", "tiny-sweep", *site, status=2)
    assert "QOSMaxSubmitJobPerUserLimit" in refused.stderr
    assert len(list(sweep.arrays.iterdir())) == 1, "a refused array leaves nothing"

    cancel_jobs(limited_desk)
    again = limited_desk.json("resume", "tiny-sweep", *site)
    assert (len(again["runs"]), len(again["left"])) == (2, 1), "the limit holds for all three"


def test_largest_array_is_that_of_this_cluster(slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)
    facts = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    assert f"MaxArraySize            = {largest_array()}\n" in facts


def test_only_limits_on_the_number_of_jobs_are_looked_up(
    slurm_cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm_cluster.items():
        monkeypatch.setenv(name, value)
    assert allowance("QOSMinGRES", SiteProfile(qos="limited")) is None
    assert allowance("AssocMaxSubmitJobLimit", SiteProfile()) is None, "the account has no such limit"
    found = allowance("QOSMaxSubmitJobPerUserLimit", SiteProfile(qos="limited"))
    assert found is not None and (found.jobs, found.limit) == (2, "MaxSubmitPU=2 of the QOS limited")
