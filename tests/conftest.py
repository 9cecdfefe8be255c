"""Fixtures that need real services; without them a test is skipped, or fails in CI."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_dl.compatibility.deferred_imports import defer_rarely_used
from tests.tracking.fake_wandb import FakeWandb

defer_rarely_used()  # in these processes, as in those of hpc_dl; saves seconds in each of pytest's workers

WANDB_KEY = "5ec3e7" + "0123456789" * 3 + "abcd"
PROJECT = Path(__file__).parent.parent
_CLUSTER = PROJECT / "slurm" / "dev-cluster" / "cluster"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a cluster in one worker, one after another, since some take nodes down.

    Those that only need a cluster of their own run in another worker at the same time. The worker
    that makes a data set also runs the other tests of data sets.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "made" in fixtures:
            item.add_marker(pytest.mark.xdist_group("data sources"))
        if item.get_closest_marker("slurm"):
            own = "state_folders" in fixtures and "shared" not in fixtures  # of tests/dev_cluster
            item.add_marker(pytest.mark.xdist_group("throw-away clusters" if own else "slurm"))


def _missing_for_slurm() -> str:
    if sys.platform != "linux":
        return "Slurm runs on Linux only"
    if os.geteuid() != 0:
        return "the development cluster's daemons need root"
    if not (Path("/usr/bin/apt-get").exists() or Path("/usr/sbin/slurmctld").exists()):
        return "the development cluster is installed with apt-get (Debian, Ubuntu)"
    return ""


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[dict[str, str]]:
    """The development cluster, up; yields the variables by which Slurm's commands find it.

    A cluster that was up before stays up.
    """
    if reason := _missing_for_slurm():
        if os.environ.get("CI"):
            pytest.fail(f"no Slurm in CI: {reason}")
        pytest.skip(reason)

    def cluster(action: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(_CLUSTER), action], capture_output=True, text=True, timeout=timeout_s
        )

    was_up = cluster("status", 60).returncode == 0
    if not was_up:
        started = cluster("up", 600)
        assert started.returncode == 0, f"`{_CLUSTER} up` failed:\n{started.stdout}{started.stderr}"
    exports = cluster("env", 60).stdout
    yield dict(re.findall(r"export (\w+)=(\S+)", exports.replace("'", "").replace('"', "").replace(";", "")))
    # Parallel test workers share the cluster: the first to end must not take it from the others.
    if not was_up and "PYTEST_XDIST_WORKER" not in os.environ:
        cluster("down", 120)


@pytest.fixture
def wandb_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeWandb]:
    """A W&B server on this machine, to which this process reports without delay."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    with FakeWandb() as server:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", WANDB_KEY)
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
        monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "0.05")
        forget_settings()
        yield server
    forget_settings()


def forget_settings() -> None:
    """Have wandb read the environment and the user's files again."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
